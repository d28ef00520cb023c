// `skein delete`: remove applied objects. Objects of watched files are removed by editing the file.
import type { Command } from 'commander';
import { parseDocuments } from '../api/parse-documents.ts';
import { formatProblem } from '../api/problem.ts';
import { AdminCallError, AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, runCommand, UsageError, withStateOption } from './command-line.ts';
import { readDocuments } from './document-files.ts';
import { isClusterWide, kindList, kindOf, objectLabel } from './kind-names.ts';

interface Options {
  readonly filename: readonly string[];
  readonly namespace: string;
  readonly ignoreNotFound: boolean;
  readonly state?: string;
}

interface Target {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const program = (): Command =>
  withStateOption(newCommand('delete', 'Remove applied configuration objects, by kind and name or as files list them.'))
    .argument('[kind]', kindList())
    .argument('[name]', 'the object')
    .option('-f, --filename <path>', 'remove every object of a file, folder or - for standard input; may be repeated', collect, [])
    .option('-n, --namespace <name>', 'of the object, or of objects that name none', 'default')
    .option('--ignore-not-found', 'a missing object is no failure', false)
    .addHelpText(
      'after',
      `
Examples:
  skein delete virtualservice payment-service -n production
  skein delete -f canary.yaml

Exit codes: 0 deleted, 1 missing or refused, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'delete',
  summary: 'remove applied configuration objects',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([kindName, name], options: Options) => {
      const targets = await targetsOf(kindName, name, options);
      if (!targets) return;
      const admin = new AdminClient(options.state);
      for (const target of targets) await remove(admin, target, options);
    }),
};

/** Undefined when the files have errors, which have then been printed. */
const targetsOf = async (
  kindName: string | undefined,
  name: string | undefined,
  options: Options,
): Promise<readonly Target[] | undefined> => {
  if (options.filename.length > 0) return targetsOfFiles(options);
  const kind = kindOf(kindName ?? '');
  if (kindName === undefined || name === undefined) throw new UsageError('name a kind and an object, or files with -f');
  if (kind === undefined) throw new UsageError(`there is no kind ${JSON.stringify(kindName)}: ${kindList()}`);
  return [{ kind, name, namespace: isClusterWide(kind) ? '' : options.namespace }];
};

const targetsOfFiles = async (options: Options): Promise<readonly Target[] | undefined> => {
  const targets: Target[] = [];
  const read = await readDocuments(options.filename);
  for (const p of read.problems) process.stderr.write(`${formatProblem(p)}\n`);
  if (read.problems.length > 0) process.exitCode = EXIT_FAILED;
  for (const { file, text } of read.documents) {
    const { resources, problems } = parseDocuments(file, text, { defaultNamespace: options.namespace });
    targets.push(...resources);
    // An object that could not be applied today may still be deleted; a text that names no object cannot.
    if (resources.length > 0) continue;
    for (const p of problems) process.stderr.write(`${formatProblem(p)}\n`);
    process.exitCode = EXIT_FAILED;
  }
  return targets;
};

const remove = async (admin: AdminClient, target: Target, options: Options): Promise<void> => {
  const parts = [target.kind, target.namespace === '' ? '-' : target.namespace, target.name].map(encodeURIComponent);
  try {
    await admin.json('DELETE', `/v1/resources/${parts.join('/')}`);
    process.stdout.write(`${objectLabel(target)} deleted\n`);
  } catch (error) {
    if (!(error instanceof AdminCallError)) throw error;
    if (error.status === 404 && options.ignoreNotFound) return;
    process.stderr.write(`skein: ${error.message}\n`);
    process.exitCode = EXIT_FAILED;
  }
};
