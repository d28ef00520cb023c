// Text forms of google.protobuf.Duration and Timestamp (proto3 JSON mapping).

/** `"1.5s"` → [1, 500000000]. Undefined when the text is not a duration. Range: ±315,576,000,000 s. */
export const parseDuration = (text: string): readonly [seconds: number, nanos: number] | undefined => {
  const m = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(text);
  if (!m) return undefined;
  const sign = m[1] === '-' ? -1 : 1;
  const seconds = Number(m[2]);
  if (seconds > 315_576_000_000) return undefined;
  const nanos = Number((m[3] ?? '').padEnd(9, '0'));
  return [sign * seconds || 0, sign * nanos || 0];
};

/** Canonical text: 0, 3, 6 or 9 fraction digits. */
export const formatDuration = (seconds: number, nanos: number): string => {
  const sign = seconds < 0 || nanos < 0 ? '-' : '';
  return `${sign}${Math.abs(seconds)}${fraction(Math.abs(nanos))}s`;
};

/** Milliseconds of a duration text; undefined for undefined. Throws RangeError on other text. */
export const durationMs = <T extends string | undefined>(text: T): T extends string ? number : number | undefined => {
  if (text === undefined) return undefined as never;
  const parsed = parseDuration(text);
  if (!parsed) throw new RangeError(`not a duration: "${text}"`);
  return (parsed[0] * 1000 + parsed[1] / 1e6) as never;
};

/** A duration text from milliseconds. */
export const msDuration = (ms: number): string => {
  const seconds = Math.trunc(ms / 1000);
  return formatDuration(seconds, Math.round((ms - seconds * 1000) * 1e6));
};

export const parseTimestamp = (text: string): readonly [seconds: number, nanos: number] | undefined => {
  const m = /^(\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/.exec(text);
  if (!m) return undefined;
  const ms = Date.parse(`${m[1]}${m[3]}`);
  return Number.isNaN(ms) ? undefined : [ms / 1000, Number((m[2] ?? '').padEnd(9, '0'))];
};

export const formatTimestamp = (seconds: number, nanos: number): string =>
  new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, `${fraction(nanos)}Z`);

const fraction = (nanos: number): string => {
  if (nanos === 0) return '';
  const digits = String(nanos).padStart(9, '0');
  if (digits.endsWith('000000')) return `.${digits.slice(0, 3)}`;
  if (digits.endsWith('000')) return `.${digits.slice(0, 6)}`;
  return `.${digits}`;
};
