// What wrk and h2load print, as figures. Pure.
import { percentile } from '../statistics.ts';

export interface Counted {
  /** Requests answered, connections, or GiB. */
  readonly units: number;
  readonly perSecond: number;
  readonly errors: number;
  readonly p50Ms?: number;
  readonly p90Ms?: number;
  readonly p99Ms?: number;
  readonly lateMs?: number;
}

const numberIn = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);

const MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** With `--latency`. Answers that are not 2xx or 3xx, and every kind of socket error, are errors. */
export const parseWrk = (text: string): Counted => {
  const ms = (label: string): number => {
    const [, value = '0', unit = 'ms'] = new RegExp(`^\\s+${label}%\\s+([\\d.]+)(us|ms|s|m)`, 'm').exec(text) ?? [];
    return Number(value) * (MS[unit] ?? 1);
  };
  const socketErrors = (/Socket errors: (.*)/.exec(text)?.[1] ?? '').match(/\d+/g)?.map(Number) ?? [];
  return {
    units: numberIn(text, /(\d+) requests in/),
    perSecond: numberIn(text, /Requests\/sec:\s+([\d.]+)/),
    errors: numberIn(text, /Non-2xx or 3xx responses: (\d+)/) + socketErrors.reduce((sum, n) => sum + n, 0),
    p50Ms: ms('50'),
    p90Ms: ms('90'),
    p99Ms: ms('99'),
  };
};

/** `log` is h2load's `--log-file`: start, status and microseconds of each request; its summary has no percentiles. */
export const parseH2load = (text: string, log: string, seconds: number): Counted => {
  const micros: number[] = [];
  for (const line of log.split('\n')) {
    const [, status, time] = line.split('\t');
    if (time !== undefined && status?.startsWith('2')) micros.push(Number(time));
  }
  const sorted = micros.sort((a, b) => a - b);
  const ms = (share: number): number => percentile(sorted, share) / 1000;
  const done = numberIn(text, /(\d+) succeeded/);
  return {
    units: done,
    perSecond: done / seconds,
    errors: numberIn(text, /(\d+) failed/),
    p50Ms: ms(0.5),
    p90Ms: ms(0.9),
    p99Ms: ms(0.99),
  };
};
