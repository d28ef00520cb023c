// What is measured of a control plane: until all are configured, one change at a time, and what should change nothing.
import { routeFile, serviceFile, WEIGHT_AT_START } from './folder.ts';
import { medianRound, type Phase } from './report.ts';
import { measure, type Run, save } from './run.ts';

const LISTEN_MS = 3000;

export const phases = async (run: Run): Promise<Phase[]> => {
  const { setting, folder } = run;
  const { n, clients, options } = setting;
  const { host, port } = options;
  const out: Phase[] = [];
  out.push(await measure(run, 'all configured', { do: 'connect', host, port, clients, n }, () => undefined));
  const weights: Phase[] = [];
  const endpoints: Phase[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    weights.push(await measure(run, 'one weight', { do: 'await', type: 'RDS' }, () => save(folder, routeFile(0, WEIGHT_AT_START - round))));
    endpoints.push(await measure(run, 'one endpoint', { do: 'await', type: 'EDS' }, () => save(folder, serviceFile(1, round))));
  }
  out.push(medianRound(weights), medianRound(endpoints));
  const touched = serviceFile(0);
  const comment = { ...touched, text: `# looked at again\n${touched.text}` };
  out.push(await measure(run, 'a file written again', { do: 'listen', forMs: LISTEN_MS }, () => save(folder, touched)));
  out.push(await measure(run, 'a comment added', { do: 'listen', forMs: LISTEN_MS }, () => save(folder, comment)));
  return out;
};
