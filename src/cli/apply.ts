// `skein apply`: store configuration in the running mesh, all of it or nothing.
import type { Command } from 'commander';
import { formatProblem, type Problem } from '../api/problem.ts';
import { AdminCallError, AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { noObjectsIn, readDocuments } from './document-files.ts';
import { objectLabel } from './kind-names.ts';
import { print, structured } from './output.ts';

interface Options {
  readonly filename: readonly string[];
  readonly namespace: string;
  readonly dryRun: boolean;
  readonly output: string;
  readonly state?: string;
}

interface Applied {
  readonly applied: readonly { readonly kind: string; readonly namespace: string; readonly name: string; readonly action: string }[];
  readonly warnings: readonly Problem[];
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = (): Command =>
  withOutputOption(
    withStateOption(newCommand('apply', 'Store configuration from files, folders or standard input. All of it applies, or nothing.')),
  )
    .option('-f, --filename <path>', 'file, folder or - for standard input; may be repeated', collect, [])
    .option('-n, --namespace <name>', 'for objects that name none', 'default')
    .option('--dry-run', 'check everything, store nothing', false)
    .addHelpText(
      'after',
      `
Examples:
  skein apply -f canary.yaml
  skein apply -f mesh/ -f canary.yaml --dry-run
  kubectl get vs -o yaml | skein apply -f - -n production

Every problem is printed as file:line:column: severity CODE path: message (hint).
An object that a watched file holds is refused with that file's name: edit the file.
Exit codes: 0 applied, 1 refused (nothing applied), 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'apply',
  summary: 'store configuration from files, folders or standard input',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (operands, options: Options) => {
      if (operands.length > 0) throw new UsageError(`apply takes no ${JSON.stringify(operands[0])}: name files with -f`);
      if (options.filename.length === 0) throw new UsageError('name what to apply with -f FILE, -f DIR or -f -');
      await apply(options);
    }),
};

const apply = async (options: Options): Promise<void> => {
  const format = outputFormat(options.output);
  const { documents, problems } = await readDocuments(options.filename);
  const admin = new AdminClient(options.state);
  // With a file that cannot be read nothing is applied, but the others' problems are told all the same.
  const refused = problems.length > 0;
  const body = { documents, dryRun: options.dryRun || refused, namespace: options.namespace };
  try {
    const reply = (documents.length === 0 ? { applied: [], warnings: [] } : await admin.json('POST', '/v1/apply', body)) as Applied;
    if (refused) throw new AdminCallError(422, 'FILE_UNREADABLE', 'not every file can be read', reply.warnings);
    if (reply.applied.length === 0) throw new AdminCallError(422, 'NO_OBJECTS', noObjectsIn(options.filename), []);
    printProblems(reply.warnings);
    const suffix = options.dryRun ? ' (dry run)' : '';
    print(format === 'table' ? reply.applied.map((o) => `${objectLabel(o)} ${o.action}${suffix}\n`).join('') : structured(reply, format));
  } catch (error) {
    const told = [...problems, ...(error instanceof AdminCallError ? error.problems : [])];
    if (told.length === 0) throw error;
    if (format === 'table') printProblems(told);
    else print(structured({ problems: told }, format));
    if (!(error instanceof AdminCallError)) throw error;
    process.exitCode = EXIT_FAILED;
  }
};

const printProblems = (problems: readonly Problem[]): void => {
  for (const p of problems) process.stderr.write(`${formatProblem(p)}\n`);
};
