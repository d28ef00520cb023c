// The command line of `--translate`: reads the recordings, compares, prints, and answers with the exit code.

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { checkTranslation, printTranslation } from './translate.ts';

const USAGE = 'usage: npm run conformance -- --oracle DIR|FILE --translate [--only NAME,…] [-o json]';

/** 0 only when nothing differs and something was compared. */
export const translateMain = (args: readonly string[], defaultFolder: string): number => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      oracle: { type: 'string' },
      translate: { type: 'boolean' },
      only: { type: 'string' },
      output: { type: 'string', short: 'o' },
    },
  });
  const folder = values.oracle ?? defaultFolder;
  if (!existsSync(folder)) {
    process.stderr.write(`--oracle ${folder}: no such folder\n${USAGE}\n`);
    return 2;
  }
  const report = checkTranslation(folder, values.only?.split(',') ?? []);
  process.stdout.write(values.output === 'json' ? `${JSON.stringify(report, null, 1)}\n` : printTranslation(report));
  if (report.passed + report.failed === 0) process.stderr.write(`--oracle ${folder}: no record to compare\n`);
  return report.failed === 0 && report.passed > 0 ? 0 : 1;
};
