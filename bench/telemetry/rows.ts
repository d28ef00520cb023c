// The rows of the telemetry scenario: pairs of sidecars that differ in nothing but what they are to tell, and in the state of whom they
// tell it. Data only.

/** How a collector behaves; down: nothing listens on its port. */
export const MODES = ['takes', 'down', 'refuses', 'silent', 'late'] as const;
export type CollectorMode = (typeof MODES)[number];

export interface TelemetryRow {
  readonly name: string;
  readonly note: string;
  /** Istio's metrics, JSON access log, traces; undefined: nothing of the three. */
  readonly tells?: { readonly collector: CollectorMode; readonly log: 'file' | 'full-disk' };
  /** Opened before the first round on both hops: ended again at once, or open to the end with a match that no request meets. */
  readonly tap?: 'ended' | 'open';
}

export const TRACED_PERCENT = 1;
/** What the others are compared with. */
export const NONE = 'no-telemetry';

const PAIR = 'two `skein proxy -c` with the filters of `skein-full`';

export const TELEMETRY_ROWS: readonly TelemetryRow[] = [
  { name: NONE, note: `${PAIR}: no metrics of Istio's, no access log, no tracing, never tapped` },
  {
    name: 'telemetry',
    note: `the same with Istio's metrics and peer metadata, JSON access log to a file, ${TRACED_PERCENT} % of requests traced over OTLP to a collector of its own`,
    tells: { collector: 'takes', log: 'file' },
  },
  { name: 'collector-down', note: 'telemetry, nothing listens on its collector’s port', tells: { collector: 'down', log: 'file' } },
  { name: 'collector-refuses', note: 'telemetry, its collector answers 503', tells: { collector: 'refuses', log: 'file' } },
  {
    name: 'collector-silent',
    note: 'telemetry, its collector takes requests and never answers',
    tells: { collector: 'silent', log: 'file' },
  },
  { name: 'collector-late', note: 'telemetry, its collector answers after 5 s', tells: { collector: 'late', log: 'file' } },
  {
    name: 'log-disk-full',
    note: 'telemetry, each write of its access log fails as on a full disk',
    tells: { collector: 'takes', log: 'full-disk' },
  },
  { name: 'tap-ended', note: `as ${NONE}, but a tap was open before the first round`, tap: 'ended' },
  { name: 'tap-open', note: `as ${NONE}, but a tap is open that matches no request`, tap: 'open' },
];
