// `skein audit`: what was changed and who was refused, from the files of the control plane's audit log; and whether anybody has touched them.
// Works with the control plane stopped, and on a copy.
import { auditFiles, auditFolder, verifyAudit } from '../control/audit/chain-files.ts';
import { AUDIT_LIMIT_MAX, type AuditQuery, auditEntries, passes, whoOf } from '../control/audit/query.ts';
import { stateFolder } from '../local/state.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';

interface Options extends AuditQuery {
  readonly output: string;
  readonly state?: string;
  readonly dir?: string;
  readonly limit: string;
  readonly diff?: boolean;
  readonly expect: readonly string[];
}

const FOLLOW_MS = 500;

const program = () =>
  withOutputOption(withStateOption(newCommand('audit', 'What was changed, by whom, and who was refused; and whether the record is whole.')))
    .argument('<what>', 'show, tail (and follow) or verify')
    .option('--dir <folder>', 'the log itself, or a copy (default: STATE/audit)')
    .option('--limit <n>', 'show and tail: the newest so many', '50')
    .option('--diff', 'show: fields that changed, too')
    .option('--type <word>', 'change, denial, call, start, stop, loaded, lost, broken')
    .option('--kind <kind>', 'changes of this kind')
    .option('-n, --namespace <name>', 'changes in this namespace')
    .option('--name <name>', 'changes of this object')
    .option('--who <text>', 'done by, or refused to, somebody whose name holds this')
    .option('--since <time>', 'ISO time, or so long ago: 30m, 2h, 7d')
    .option('--until <time>', 'as --since')
    .option('--expect <seq:hash>', 'verify: a hash that was written down elsewhere; may be repeated', collect, [])
    .addHelpText(
      'after',
      `
Examples:
  skein audit show --type change --kind AuthorizationPolicy --diff
  skein audit tail --type denial
  skein audit verify
  skein audit verify --expect 4211:9f86d081884c7d65…

verify finds entries that were changed, removed or moved, also at the end. Who can write the folder can write a whole new chain: write
down what verify prints somewhere else, now and then, and give it to --expect.
Exit codes: 0 whole or printed, 1 not whole, 2 wrong usage.`,
    );

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export const command = {
  name: 'audit',
  summary: 'show what was changed and who was refused; verify that the record is whole',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([what, ...rest], options: Options) => {
      if (rest.length > 0) throw new UsageError(`audit ${what} takes no ${JSON.stringify(rest[0])}`);
      const folder = options.dir ?? auditFolder(stateFolder(options.state, process.env));
      if (what === 'verify') {
        verify(folder, options);
        return;
      }
      if (what !== 'show' && what !== 'tail') throw new UsageError(`audit knows show, tail and verify, not ${JSON.stringify(what)}`);
      if (auditFiles(folder).length === 0) {
        missing(folder);
        return;
      }
      const query = queryOf(options);
      if (what === 'show') show(auditEntries(folder, query, limitOf(options)), options);
      else await tail(folder, query, options);
    }),
};

const missing = (folder: string): void => {
  process.stderr.write(`skein: there is no audit log in ${folder}\n`);
  process.exitCode = EXIT_FAILED;
};

const limitOf = ({ limit }: Options): number => {
  const read = Number(limit);
  if (!Number.isInteger(read) || read < 1 || read > AUDIT_LIMIT_MAX)
    throw new UsageError(`--limit is a number from 1 to ${AUDIT_LIMIT_MAX}`);
  return read;
};

const queryOf = ({ type, kind, namespace, name, who, since, until }: Options): AuditQuery => {
  const given = { type, kind, namespace, name, who, since: timeOf('--since', since), until: timeOf('--until', until) };
  return Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) as AuditQuery;
};

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const timeOf = (option: string, text: string | undefined): string | undefined => {
  if (text === undefined) return undefined;
  const ago = /^(\d+)([smhd])$/.exec(text);
  const at = ago === null ? Date.parse(text) : Date.now() - Number(ago[1]) * (UNITS[ago[2] ?? ''] ?? 0);
  if (Number.isNaN(at)) throw new UsageError(`${option} ${text}: an ISO time, or 30m, 2h, 7d`);
  return new Date(at).toISOString();
};

type Entry = ReturnType<typeof auditEntries>[number];

const show = (entries: readonly Entry[], options: Options): void => {
  const format = outputFormat(options.output);
  if (format !== 'table') print(structured(entries, format));
  else if (options.diff !== true) print(table(HEADER, entries.map(row)));
  else for (const entry of entries) print(`${row(entry).join('  ')}\n${diffLines(entry)}`);
};

const HEADER = ['SEQ', 'TIME', 'TYPE', 'WHO', 'WHAT', 'WHERE'];

const text = (v: unknown): string => (v === undefined || v === null ? '' : String(v));

const row = (entry: Entry): readonly string[] => [
  text(entry['seq']),
  text(entry['time']),
  text(entry['type']),
  whoOf(entry),
  whatOf(entry),
  entry['file'] === undefined ? text(entry['door']) : `${text(entry['file'])}:${text(entry['line'])}`,
];

const whatOf = (entry: Entry): string => {
  switch (entry['type']) {
    case 'change':
      return `${text(entry['action'])} ${text(entry['kind'])} ${text(entry['namespace'])}/${text(entry['name'])} (generation ${text(entry['generation'])})`;
    case 'denial':
      return `refused: ${text(entry['reason'])}`;
    case 'call':
      return `${text(entry['method'])} ${text(entry['path'])}`;
    case 'loaded':
      return `${text(entry['objects'])} objects (generation ${text(entry['generation'])})`;
    case 'lost':
      return `${text(entry['count'])} entries could not be written`;
    default:
      return text(entry['problem']);
  }
};

const diffLines = (entry: Entry): string => {
  const { diff } = entry as { readonly diff?: readonly { readonly path: string; readonly before?: string; readonly after?: string }[] };
  return (diff ?? [])
    .map(
      ({ path, before, after }) => `    ${path}: ${before === undefined ? '' : `- ${before}`}${after === undefined ? '' : ` + ${after}`}\n`,
    )
    .join('');
};

const tail = async (folder: string, query: AuditQuery, options: Options): Promise<void> => {
  let last = 0;
  let limit = limitOf(options);
  for (;;) {
    const fresh = auditEntries(folder, {}, limit).filter((e) => Number(e['seq']) > last);
    last = Math.max(last, ...fresh.map((e) => Number(e['seq'])));
    for (const entry of fresh.filter((e) => passes(e, query)))
      print(outputFormat(options.output) === 'table' ? `${row(entry).join('  ')}\n` : `${JSON.stringify(entry)}\n`);
    limit = AUDIT_LIMIT_MAX;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
  }
};

const verify = (folder: string, options: Options): void => {
  const expected = new Map(options.expect.map(noted));
  const files = auditFiles(folder);
  if (files.length === 0 && expected.size === 0) {
    missing(folder);
    return;
  }
  const verdict = verifyAudit(folder, expected);
  const { faults, entries, first, last, behind } = verdict;
  const format = outputFormat(options.output);
  if (format !== 'table') print(structured(verdict, format));
  else {
    for (const f of faults) print(`${folder}/${f.file}${f.line === 0 ? '' : `:${f.line}`}: ${f.problem}\n`);
    if (faults.length === 0) print(`whole: ${entries} entries, ${first} to ${last.seq}, in ${files.length} files\n`);
    if (behind > 0) print(`${behind} entries are newer than the head: the writer is at work, or was stopped in the middle\n`);
    if (faults.length === 0) print(`to write down: ${last.seq}:${last.hash}\n`);
  }
  if (faults.length > 0) process.exitCode = EXIT_FAILED;
};

const noted = (written: string): readonly [number, string] => {
  const match = /^(\d+):([0-9a-f]{64})$/.exec(written);
  if (match === null) throw new UsageError(`--expect ${written} is not SEQ:HASH as verify prints it`);
  return [Number(match[1]), match[2] ?? ''];
};
