// `skein validate`: checks files as `apply` would, without a control plane. What only the whole mesh shows is not told here.
import { formatProblem, hasErrors } from '../api/problem.ts';
import { ofKind } from '../api/resource.ts';
import { validateTexts } from '../api/validate.ts';
import { envoyFilterProblems } from '../mesh/envoy-filter-findings.ts';
import { patchesOf } from '../mesh/envoy-filters.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption } from './command-line.ts';
import { noObjectsIn, readDocuments } from './document-files.ts';
import { print, structured } from './output.ts';

interface Options {
  readonly output: string;
  readonly filename: readonly string[];
  readonly namespace: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = () =>
  withOutputOption(
    newCommand('validate', 'Check configuration in files, folders or standard input. Needs no control plane, changes nothing.'),
  )
    .option('-f, --filename <path>', 'file, folder or - for standard input; may be repeated', collect, [])
    .option('-n, --namespace <name>', 'for objects that name none', 'default')
    .addHelpText(
      'after',
      `
Examples:
  skein validate -f mesh/
  skein validate -f canary.yaml -o json

Every problem is printed as file:line:column: severity CODE path: message (hint).
Whether hosts, subsets and gateways that the files name are there is checked by \`skein apply --dry-run\`.
Exit codes: 0 valid (there may be warnings), 1 at least one error, 2 wrong usage.`,
    );

export const command = {
  name: 'validate',
  summary: 'check configuration in files without a control plane',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (operands, options: Options) => {
      if (operands.length > 0) throw new UsageError(`validate takes no ${JSON.stringify(operands[0])}: name files with -f`);
      if (options.filename.length === 0) throw new UsageError('name what to check with -f FILE, -f DIR or -f -');
      const format = outputFormat(options.output);
      const read = await readDocuments(options.filename);
      const { resources, problems: found } = validateTexts(read.documents, options.namespace);
      const objects = resources.length;
      const problems = [...read.problems, ...found, ...envoyFilterProblems(ofKind(resources, 'EnvoyFilter').flatMap(patchesOf))];
      const nothing = objects === 0 && problems.length === 0;
      if (format === 'table') {
        for (const p of problems) process.stdout.write(`${formatProblem(p)}\n`);
        if (!nothing && !hasErrors(problems)) print(`${objects} ${objects === 1 ? 'object is' : 'objects are'} valid\n`);
      } else print(structured({ objects, problems }, format));
      if (nothing) process.stderr.write(`skein: ${noObjectsIn(options.filename)}\n`);
      if (nothing || hasErrors(problems)) process.exitCode = EXIT_FAILED;
    }),
};
