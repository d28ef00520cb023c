// What sidecars have counted of their own telemetry, read from the text of /stats. Pure.

/** Both hops of a row together. */
export interface Tally {
  /** Requests that were to be traced. */
  readonly traced: number;
  readonly sent: number;
  /** Found the queue full. */
  readonly dropped: number;
  /** Given up: the collector never took them. */
  readonly failed: number;
  /** The collector took the request and said that it did not take these. */
  readonly rejected: number;
  readonly logLinesDropped: number;
}

const sumOf = (stats: string, name: RegExp): number => {
  let sum = 0;
  for (const line of stats.split('\n')) {
    const [key = '', value = ''] = line.split(': ');
    if (name.test(key)) sum += Number(value);
  }
  return sum;
};

const SPANS = (what: string): RegExp => new RegExp(`^tracing\\.\\w+\\.spans_${what}$`);

const tallyOf = (stats: string): Tally => ({
  traced: sumOf(stats, /^http\..*\.tracing\.(?:random_sampling|client_enabled|service_forced)$/),
  sent: sumOf(stats, SPANS('sent')),
  dropped: sumOf(stats, SPANS('dropped')),
  failed: sumOf(stats, SPANS('failed')),
  rejected: sumOf(stats, SPANS('rejected')),
  logLinesDropped: sumOf(stats, /^access_logs\.file\.dropped$/),
});

export const tallyTogether = (pages: readonly string[]): Tally =>
  pages.map(tallyOf).reduce((a, b) => ({
    traced: a.traced + b.traced,
    sent: a.sent + b.sent,
    dropped: a.dropped + b.dropped,
    failed: a.failed + b.failed,
    rejected: a.rejected + b.rejected,
    logLinesDropped: a.logLinesDropped + b.logLinesDropped,
  }));

/** Of what was to be traced: still in a queue or on its way. */
export const waitingOf = (t: Tally): number => t.traced - t.sent - t.dropped - t.failed - t.rejected;

export interface Recovery {
  /** Spans that the sidecars had sent before the collector came back, and after. */
  readonly before: number;
  readonly after: number;
  /** As the collector itself counted. */
  readonly received: number;
  readonly seconds: number;
}

export interface TelemetryFacts {
  readonly tallies: ReadonlyMap<string, Tally>;
  readonly recoveries: ReadonlyMap<string, Recovery>;
  /** Requests that failed, of all rounds and rows, those that do not count included. */
  readonly failedRequests: number;
}
