// npm run conformance -- --corpora DIR [--only FILE,…] [-o json]: cases from Istio's own tests as data, file by file. Exit code 0 only when
// every file that is judged reaches the goal.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { belowGoal, corporaText, runCorpora } from './corpora/run-corpora.ts';

const USAGE = 'usage: npm run conformance -- --corpora DIR [--only FILE,…] [-o json]';

/** The exit code. */
export const corporaMain = (args: readonly string[]): number => {
  const { values } = parseArgs({
    args: [...args],
    options: { corpora: { type: 'string' }, only: { type: 'string' }, output: { type: 'string', short: 'o' } },
  });
  const folder = values.corpora ?? '';
  if (!existsSync(join(folder, 'validation.json')) && !existsSync(join(folder, 'tables'))) {
    process.stderr.write(`--corpora ${folder}: no corpora there\n${USAGE}\n`);
    return 2;
  }
  const report = runCorpora(folder, values.only?.split(',') ?? []);
  if (Object.keys(report.files).length === 0) {
    process.stderr.write(`--only ${values.only ?? ''}: no such file in ${folder}\n${USAGE}\n`);
    return 2;
  }
  process.stdout.write(values.output === 'json' ? `${JSON.stringify(report, null, 1)}\n` : corporaText(report));
  const below = belowGoal(report);
  if (below.length > 0) process.stderr.write(`below the goal: ${below.join(', ')}\n`);
  else if (values.output !== 'json')
    process.stdout.write(
      `${report.passed} passed, ${report.failed === 0 ? '0 failed' : `${report.failed} deviate (docs/conformance.md)`}\n`,
    );
  return below.length === 0 ? 0 : 1;
};
