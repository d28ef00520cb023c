// `skein get`: the configuration objects in force, applied and from watched files.
import type { Command } from 'commander';
import { AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { kindList, kindOf } from './kind-names.ts';
import { age, print, structured, table } from './output.ts';

interface Options {
  readonly namespace?: string;
  readonly output: string;
  readonly state?: string;
}

interface Listed {
  readonly object: {
    readonly kind: string;
    readonly metadata: { readonly name: string; readonly namespace?: string; readonly creationTimestamp?: string };
  };
  readonly origin: { readonly source: string; readonly file: string; readonly line: number };
}

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('get', 'Print configuration objects, those of watched files and those applied.')))
    .argument('<kind>', `${kindList()}, or all; several with commas`)
    .argument('[name]', 'one object')
    .option('-n, --namespace <name>', 'only this namespace')
    .addHelpText(
      'after',
      `
Examples:
  skein get virtualservices
  skein get vs payment-service -n production -o yaml
  skein get vs,dr -n production
  skein get all

Exit codes: 0 printed, 1 the named object does not exist, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'get',
  summary: 'print stored and watched configuration objects',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([kindName = '', name], options: Options) => {
      const names = kindName.split(',');
      const kinds = names.includes('all') ? undefined : [...new Set(names.map(known))];
      if (names.includes('all') && names.length > 1) throw new UsageError('all stands alone');
      await get(kinds, name, options);
    }),
};

const known = (name: string): string => {
  const kind = kindOf(name);
  if (kind === undefined) throw new UsageError(`there is no kind ${JSON.stringify(name)}: ${kindList()}, or all`);
  return kind;
};

/** Kinds in the order in which they were named. */
const get = async (kinds: readonly string[] | undefined, name: string | undefined, options: Options): Promise<void> => {
  const format = outputFormat(options.output);
  const admin = new AdminClient(options.state);
  const resources: Listed[] = [];
  for (const kind of kinds ?? [undefined]) {
    const wanted = Object.entries({ kind, name, namespace: options.namespace });
    const query = new URLSearchParams(wanted.filter((e): e is [string, string] => e[1] !== undefined));
    const answer = (await admin.json('GET', `/v1/resources?${query}`)) as { readonly resources: readonly Listed[] };
    resources.push(...answer.resources);
  }
  if (name !== undefined && resources.length === 0) {
    process.stderr.write(
      `skein: there is no ${kinds?.join(' or ') ?? 'object'} ${name}${options.namespace === undefined ? '' : ` in namespace ${options.namespace}`}\n`,
    );
    process.exitCode = EXIT_FAILED;
    return;
  }
  if (format === 'table') {
    print(table(['KIND', 'NAMESPACE', 'NAME', 'AGE', 'ORIGIN'], resources.map(row)));
    return;
  }
  const objects = resources.map((r) => r.object);
  print(structured(name !== undefined && objects.length === 1 ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects }, format));
};

const row = ({ object, origin }: Listed): readonly string[] => [
  object.kind,
  object.metadata.namespace ?? '',
  object.metadata.name,
  age(object.metadata.creationTimestamp, Date.now()),
  origin.source === 'file' ? `${origin.file}:${origin.line}` : origin.source,
];
