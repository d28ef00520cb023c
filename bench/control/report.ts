// The results as Markdown and the arithmetic behind them. Pure.
import { median, percentile } from '../statistics.ts';
import { type ChurnVerdict, type Sample, verdictLine } from './churn-verdict.ts';
import type { Answer } from './client-process.ts';

export interface Phase {
  readonly name: string;
  /** Of the clients: seconds after the change. Undefined when nothing was to come. */
  readonly p50: number | undefined;
  readonly p99: number | undefined;
  readonly last: number | undefined;
  /** Mean over the clients. */
  readonly bytesPerClient: number;
  readonly responses: number;
  readonly cpuSeconds: number;
  readonly rssMb: number;
  readonly peakMb: number;
}

export interface Setting {
  readonly n: number;
  readonly clients: number;
  readonly control: string;
  readonly machine: string;
  readonly date: string;
}

interface Report extends Setting {
  readonly phases: readonly Phase[];
}

export const phaseOf = (name: string, answer: Answer, sinceMs: number, cost: Pick<Phase, 'cpuSeconds' | 'rssMb' | 'peakMb'>): Phase => {
  const seconds = answer.at.map((ms) => (ms - sinceMs) / 1000).sort((a, b) => a - b);
  const at = (share: number): number | undefined => (seconds.length === 0 ? undefined : percentile(seconds, share));
  const bytes = answer.bytes.reduce((a, b) => a + b, 0);
  return {
    name,
    p50: at(0.5),
    p99: at(0.99),
    last: at(1),
    bytesPerClient: answer.bytes.length === 0 ? 0 : bytes / answer.bytes.length,
    responses: answer.responses,
    ...cost,
  };
};

/** The round whose last client is the median; rounds of one phase. */
export const medianRound = (rounds: readonly Phase[]): Phase => {
  const wanted = median(rounds.map((r) => r.last ?? 0)) ?? 0;
  const sorted = [...rounds].sort((a, b) => Math.abs((a.last ?? 0) - wanted) - Math.abs((b.last ?? 0) - wanted));
  const [first] = sorted;
  if (!first) throw new RangeError('no rounds');
  return first;
};

export const seconds = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(value < 10 ? 3 : 1));
const size = (bytes: number): string =>
  bytes < 100 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(2)} MiB`;

const SAMPLES_PER_ROW = 15;

/** A row is the median of half a minute. */
const churnRows = (samples: readonly Sample[]): string[] => {
  const rows: string[] = [];
  for (let at = 0; at + SAMPLES_PER_ROW <= samples.length; at += SAMPLES_PER_ROW) {
    const part = samples.slice(at, at + SAMPLES_PER_ROW);
    const last = part.at(-1);
    if (!last) continue;
    const of = part.map((s) => s.rssMb);
    const mb = [Math.min(...of), median(of) ?? 0, Math.max(...of)].map((value) => value.toFixed(0));
    rows.push([last.seconds, last.edits, last.cpuSeconds.toFixed(1), ...mb].join(' | '));
  }
  return rows;
};

export const churnMarkdown = (
  report: Setting & { readonly samples: readonly Sample[]; readonly verdict: ChurnVerdict },
): string => `# Control plane under churn: ${report.n} services, ${report.clients} clients

${report.machine}, ${report.date}

    ${report.control}

${verdictLine(report.verdict)}

| s | edits | CPU s | MB, least | median | most |
| - | ----- | ----- | --------- | ------ | ---- |
${churnRows(report.samples)
  .map((row) => `| ${row} |`)
  .join('\n')}
`;

export const markdown = (report: Report): string => {
  const rows = report.phases.map((p) =>
    [
      p.name,
      seconds(p.p50),
      seconds(p.p99),
      seconds(p.last),
      size(p.bytesPerClient),
      String(p.responses),
      p.cpuSeconds.toFixed(2),
      p.rssMb.toFixed(0),
      p.peakMb.toFixed(0),
    ].join(' | '),
  );
  return `# Control plane: ${report.n} services, ${report.clients} clients

${report.machine}, ${report.date}

    ${report.control}

| phase | p50 s | p99 s | last s | bytes a client | responses | CPU s | MB | peak MB |
| ----- | ----- | ----- | ------ | -------------- | --------- | ----- | -- | ------- |
${rows.map((r) => `| ${r} |`).join('\n')}
`;
};
