// Memory while everything changes: edits as fast as the control plane takes them, with proxies coming and going.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { treeSeconds } from '../process-clock.ts';
import type { Sample } from './churn-verdict.ts';
import { clockMs } from './delta-client.ts';
import { churnEdit } from './folder.ts';
import { measure, memory, pause, type Run, save } from './run.ts';

const EDIT_MS = 100;
const EDITS_PER_REPLACEMENT = 20;
/** Of the clients, at each replacement. */
const REPLACED_SHARE = 0.05;
const SAMPLE_MS = 2000;
const SAMPLES_PER_LINE = 15;

/** A sample every other second. */
export const churn = async (run: Run, forMs: number): Promise<Sample[]> => {
  const { n, clients, options } = run.setting;
  const { host, port } = options;
  await measure(run, 'all configured', { do: 'connect', host, port, clients, n }, () => undefined);
  const samples: Sample[] = [];
  const startedMs = clockMs();
  let sampledMs = startedMs;
  for (let edit = 0; clockMs() - startedMs < forMs; edit++) {
    apply(run, edit);
    if (edit % EDITS_PER_REPLACEMENT === EDITS_PER_REPLACEMENT - 1) {
      run.clients.order({ do: 'replace', host, port, clients: Math.max(1, Math.floor(clients * REPLACED_SHARE)), n });
      await run.clients.answer();
    }
    await pause(EDIT_MS);
    if (clockMs() - sampledMs < SAMPLE_MS) continue;
    sampledMs = clockMs();
    samples.push({
      seconds: Math.round((sampledMs - startedMs) / 1000),
      edits: edit + 1,
      cpuSeconds: treeSeconds([run.control]),
      ...memory(run.control),
    });
    if (samples.length % SAMPLES_PER_LINE === 0) tell(samples.slice(-SAMPLES_PER_LINE));
  }
  return samples;
};

const apply = ({ setting, folder }: Run, edit: number): void => {
  for (const file of churnEdit(edit, setting.n)) {
    if (file.text === undefined) rmSync(join(folder, file.name), { force: true });
    else save(folder, { name: file.name, text: file.text });
  }
};

const tell = (samples: readonly Sample[]): void => {
  const last = samples.at(-1);
  const of = samples.map((s) => s.rssMb);
  process.stderr.write(`${last?.seconds} s, ${last?.edits} edits: ${Math.min(...of).toFixed(0)} to ${Math.max(...of).toFixed(0)} MB\n`);
};
