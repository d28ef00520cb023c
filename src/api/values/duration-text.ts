// Durations as people write them (`1.5s`, `1h30m`, `100ms`) and in the canonical form that specs hold: seconds, as protojson writes.

const units: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
const shape = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;
/** Longest duration of the protobuf type: about 10,000 years. */
const SECONDS_MAX = 315_576_000_000;

/** Longer texts are nobody's duration and would cost long arithmetic. */
const CHARACTERS_MAX = 64;

/** Nanoseconds, or undefined when the text is no duration. `0` alone is one, other bare numbers are not. */
export const parseDuration = (text: string): bigint | undefined => {
  if (text === '0' || text === '+0' || text === '-0') return 0n;
  const sign = text.length > CHARACTERS_MAX ? undefined : shape.exec(text)?.[1];
  if (sign === undefined) return undefined;
  let total = 0n;
  for (const [, amount, unit] of text.matchAll(part)) {
    const scale = units[unit ?? ''] ?? 0;
    const [whole = '', fraction = ''] = (amount ?? '').split('.');
    total += BigInt(whole === '' ? '0' : whole) * BigInt(scale);
    if (fraction !== '') total += (BigInt(fraction) * BigInt(scale)) / 10n ** BigInt(fraction.length);
  }
  if (total > BigInt(SECONDS_MAX) * 1_000_000_000n) return undefined;
  return sign === '-' ? -total : total;
};

/** `90m` → `5400s`, `100ms` → `0.1s`. */
export const formatDuration = (nanoseconds: bigint): string => {
  const sign = nanoseconds < 0n ? '-' : '';
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  const fraction = (size % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '');
  return `${sign}${size / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}s`;
};

/** Milliseconds of a duration of a checked spec. */
export const durationMs = (text: string): number => Number(parseDuration(text) ?? 0n) / 1e6;

/** What Istio asks of most durations: at least 1ms, nothing finer than 1ms. The failure, or undefined. */
export const checkDuration = (text: string): string | undefined => {
  const value = parseDuration(text);
  if (value === undefined) return `${JSON.stringify(text)} is not a duration such as "1.5s", "2m" or "1h"`;
  if (value < 1_000_000n) return 'duration must be at least 1ms';
  return value % 1_000_000n === 0n ? undefined : 'durations finer than 1ms are not supported';
};

/** Where 0s means "off". */
export const checkDurationOrZero = (text: string): string | undefined => (parseDuration(text) === 0n ? undefined : checkDuration(text));
