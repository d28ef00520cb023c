// The whole table as Markdown: each size, beside it what was recorded of istiod where that is known, and the curve. Pure.
import { ISTIOD_RECORDED, type RecordedPhase, type RecordedRun } from './recorded.ts';
import { type Phase, type Setting, seconds } from './report.ts';

export interface ScaleRow {
  readonly n: number;
  readonly clients: number;
  readonly phases: readonly Phase[];
}

export type ScaleReport = Pick<Setting, 'control' | 'machine' | 'date'> & { readonly rows: readonly ScaleRow[] };

const phaseNamed = (row: ScaleRow, name: string): Phase | undefined => row.phases.find((p) => p.name === name);
const recorded = (row: ScaleRow): RecordedRun | undefined => ISTIOD_RECORDED.find((r) => r.n === row.n && r.clients === row.clients);
const number = (value: number | undefined, digits = 1): string => (value === undefined ? '–' : value.toFixed(digits));

const lines = (row: ScaleRow): string[] => {
  const theirs = recorded(row);
  return row.phases.map((p) => {
    const other: RecordedPhase = theirs?.phases[p.name] ?? {};
    const ours = [seconds(p.p50), seconds(p.p99), seconds(p.last), p.cpuSeconds.toFixed(2), (p.bytesPerClient / 1024).toFixed(1)];
    const istiod = [number(other.lastSeconds), number(other.cpuSeconds), number(other.kibPerClient)];
    return `| ${[row.n, row.clients, p.name, ...ours, p.rssMb.toFixed(0), p.peakMb.toFixed(0), ...istiod].join(' | ')} |`;
  });
};

/** The curve: one line a size, what an operator asks first. */
const curve = (row: ScaleRow): string => {
  const theirs = recorded(row);
  const ratio = (name: string): string => {
    const [ours, other] = [phaseNamed(row, name)?.last, theirs?.phases[name]?.lastSeconds];
    return ours === undefined || other === undefined ? '–' : `${(other / ours).toFixed(1)} ×`;
  };
  const last = ['all configured', 'one weight', 'one endpoint'].flatMap((name) => [seconds(phaseNamed(row, name)?.last), ratio(name)]);
  const peak = Math.max(...row.phases.map((p) => p.peakMb));
  return `| ${[row.n, row.clients, ...last, peak.toFixed(0), number(theirs?.peakMb, 0)].join(' | ')} |`;
};

export const scaleMarkdown = (report: ScaleReport): string => `# The control plane by size

${report.machine}, ${report.date}

    ${report.control}

Seconds to the last client, and how many times faster than what was recorded of istiod for the same configuration and clients
(two cores, clients on the machine); – was not recorded.

| services | clients | all configured s | istiod | one weight s | istiod | one endpoint s | istiod | peak MB | istiod MB |
| -------- | ------- | ---------------- | ------ | ------------ | ------ | -------------- | ------ | ------- | --------- |
${report.rows.map(curve).join('\n')}

| services | clients | phase | p50 s | p99 s | last s | CPU s | KiB a client | MB | peak MB | istiod: last s | CPU s | KiB a client |
| -------- | ------- | ----- | ----- | ----- | ------ | ----- | ------------ | -- | ------- | -------------- | ----- | ------------ |
${report.rows.flatMap(lines).join('\n')}
`;
