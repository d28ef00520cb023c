// strftime-like formats of %START_TIME(…)% and the certificate times, compiled. UTC only: a sidecar's local time is UTC
// as far as anyone may rely on it. Knows Envoy's extensions %s, %f, %1f … %9f.
import { PlanError } from './plan-error.ts';

export type TimeFormat = (ms: number) => string;

// Lines come many to a second: its text is made once.
const isoTime = (): TimeFormat => {
  let second = Number.NaN;
  let text = '';
  return (ms) => {
    const whole = Math.floor(ms / 1000);
    if (whole !== second) {
      second = whole;
      text = new Date(whole * 1000).toISOString().slice(0, 20);
    }
    const rest = Math.floor(ms) - whole * 1000;
    return `${text}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`;
  };
};

/** '' : `2026-01-31T12:00:00.123Z`. */
export const compileTimeFormat = (format: string, path: string, plain: TimeFormat = isoTime()): TimeFormat => {
  if (format === '') return plain;
  const pieces: (string | ((d: Date, ms: number) => string))[] = [];
  for (let i = 0; i < format.length; i++) {
    if (format[i] !== '%') {
      pieces.push(format[i] as string);
      continue;
    }
    let c = format[++i] ?? '';
    let width = '';
    if (c >= '1' && c <= '9' && format[i + 1] === 'f') {
      width = c;
      c = format[++i] as string;
    }
    if (c === 'f') {
      const digits = width === '' ? 9 : Number(width);
      pieces.push((_, ms) => fraction(ms, digits));
      continue;
    }
    if ((c === 'E' || c === 'O') && format[i + 1] !== undefined) c = format[++i] as string;
    const conversion = CONVERSIONS[c];
    if (conversion === undefined) throw new PlanError(path, `time conversion %${c} is not supported`);
    pieces.push(conversion);
  }
  return (ms) => {
    const date = new Date(ms);
    let out = '';
    for (const piece of pieces) out += typeof piece === 'string' ? piece : piece(date, ms);
    return out;
  };
};

const two = (n: number): string => (n < 10 ? `0${n}` : String(n));
const fraction = (ms: number, digits: number): string => {
  const micros = Math.round((ms - Math.floor(ms / 1000) * 1000) * 1000);
  return String(Math.min(micros, 999_999)).padStart(6, '0').padEnd(9, '0').slice(0, digits);
};
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const day = (d: Date): string => DAYS[d.getUTCDay()] as string;
const month = (d: Date): string => MONTHS[d.getUTCMonth()] as string;
const dayOfYear = (d: Date): number =>
  Math.floor((Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate()) - Date.UTC(d.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
const clock = (d: Date): string => `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
const hour12 = (d: Date): number => d.getUTCHours() % 12 || 12;

const CONVERSIONS: Readonly<Record<string, (d: Date, ms: number) => string>> = {
  '%': () => '%',
  Y: (d) => String(d.getUTCFullYear()),
  y: (d) => two(d.getUTCFullYear() % 100),
  C: (d) => two(Math.floor(d.getUTCFullYear() / 100)),
  m: (d) => two(d.getUTCMonth() + 1),
  d: (d) => two(d.getUTCDate()),
  e: (d) => String(d.getUTCDate()).padStart(2, ' '),
  H: (d) => two(d.getUTCHours()),
  I: (d) => two(hour12(d)),
  M: (d) => two(d.getUTCMinutes()),
  S: (d) => two(d.getUTCSeconds()),
  p: (d) => (d.getUTCHours() < 12 ? 'AM' : 'PM'),
  j: (d) => String(dayOfYear(d)).padStart(3, '0'),
  a: (d) => day(d).slice(0, 3),
  A: day,
  b: (d) => month(d).slice(0, 3),
  h: (d) => month(d).slice(0, 3),
  B: month,
  u: (d) => String(d.getUTCDay() || 7),
  w: (d) => String(d.getUTCDay()),
  F: (d) => `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`,
  D: (d) => `${two(d.getUTCMonth() + 1)}/${two(d.getUTCDate())}/${two(d.getUTCFullYear() % 100)}`,
  T: clock,
  X: clock,
  R: (d) => `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`,
  r: (d) => `${two(hour12(d))}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())} ${d.getUTCHours() < 12 ? 'AM' : 'PM'}`,
  c: (d) => `${day(d).slice(0, 3)} ${month(d).slice(0, 3)} ${String(d.getUTCDate()).padStart(2, ' ')} ${clock(d)} ${d.getUTCFullYear()}`,
  x: (d) => `${two(d.getUTCMonth() + 1)}/${two(d.getUTCDate())}/${two(d.getUTCFullYear() % 100)}`,
  z: () => '+0000',
  Z: () => 'UTC',
  n: () => '\n',
  t: () => '\t',
  s: (_, ms) => String(Math.floor(ms / 1000)),
};
