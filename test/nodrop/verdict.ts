// What counts. A request or message fails when it is not answered with 200 (or its exact echo) within 10 s, when its connection ends
// before the answer without leave, or when a stream that we did not end is cut: every drain time here is longer than the run.
// Leave is: `connection: close` on an answer, GOAWAY, REFUSED_STREAM. A 503 "no healthy upstream" is a failure except while the test
// itself holds the list of endpoints empty, where Envoy answers so too. In the access logs no line may carry UC, UF, UR or NR,
// save UC on 101: so Envoy logs every upgraded stream whose server ends it (one that is cut shows in the load).
import type { LoadResult } from './load-result.ts';

/** When the test had no endpoints listed, with the time that a proxy may take to hear of it. */
export interface Window {
  readonly from: number;
  readonly to: number;
}
const HEARD_MS = 500;
const UPGRADED = 101;
const BAD_FLAGS = new Set(['UC', 'UF', 'UR', 'NR']);

export const judgeLoad = (result: LoadResult, empty: readonly Window[], since: number): string[] => {
  const problems = result.failures.map(({ at, reason }) => `${result.name}: ${at - since} ms: ${reason}`);
  if (result.failed > result.failures.length) problems.push(`${result.name}: ${result.failed - result.failures.length} failures more`);
  const unexplained = result.withoutHosts.filter((at) => !empty.some(({ from, to }) => at >= from && at <= to + HEARD_MS));
  if (unexplained.length > 0)
    problems.push(`${result.name}: ${unexplained.length} answers "no healthy upstream" while there were endpoints`);
  if (result.succeeded === 0) problems.push(`${result.name}: nothing succeeded`);
  return problems;
};

export const badLines = (side: string, lines: readonly Record<string, unknown>[]): string[] => {
  const bad = lines.filter(({ flags, status }) =>
    String(flags ?? '')
      .split(',')
      .some((flag) => BAD_FLAGS.has(flag) && !(flag === 'UC' && Number(status) === UPGRADED)),
  );
  const shown = bad.slice(0, 10).map((line) => `${side}: ${JSON.stringify(line)}`);
  return bad.length > shown.length ? [...shown, `${side}: ${bad.length} lines with such flags in all`] : shown;
};

export const lineOf = (r: LoadResult): string =>
  [
    `${r.name.padEnd(16)} ${String(r.sent).padStart(7)} sent ${String(r.failed).padStart(4)} failed`,
    `${String(r.reconnects).padStart(5)} reconnects ${String(r.refused).padStart(4)} sent again with leave`,
    `${String(r.withoutHosts.length).padStart(4)} while empty  p50 ${r.p50Ms} ms p99 ${r.p99Ms} ms longest ${r.longestMs} ms`,
  ].join(' ');
