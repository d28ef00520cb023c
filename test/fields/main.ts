// `npm run test:fields`: what src/xds/support/ says of every field is so. Each honoured field's case fails without it, each inert one
// changes nothing where it is tried, each refused one is refused by name. `--write` puts cases into honoured rows that have none and
// writes docs/reference/xds.md; `--case NAME` runs one case; a run without arguments is four with
// `--share N` at a time.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { each, honouredIn, isNoticed, mindsSample, refusesByName, run, runUntilSame, unsetIn } from './blanking.ts';
import type { FieldCase } from './case.ts';
import { CASES } from './cases.ts';
import { PAGE, referencePage } from './reference-page.ts';
import { refusals } from './refusals.ts';
import { type Row, readSupport, type SupportTable, tableProblems, titleOf, writeCases } from './support-table.ts';

const args = process.argv.slice(2);
const writes = args.includes('--write');
const chosen = args.includes('--case') ? args[args.indexOf('--case') + 1] : undefined;

const UNTRIED = 'not tried: ';
const GOOD = 'good: ';
/** Most of a case is waiting: so many processes at a time. */
const SHARES = 4;

/** What one share printed and how it ended. */
const share = async (which: number): Promise<{ readonly lines: readonly string[]; readonly code: unknown }> => {
  const child = spawn(process.execPath, [import.meta.filename, '--share', String(which)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const [code] = await ended;
  return { lines: text.trimEnd().split('\n'), code };
};

/** The whole, a share a process. A field is untried when no share tried it. */
const shares = async (): Promise<never> => {
  const all = await Promise.all(Array.from({ length: SHARES }, (_, i) => share(i)));
  const told = all.map(({ lines }) => new Set(lines.filter((line) => line.startsWith(UNTRIED))));
  const untried = [...(told[0] ?? [])].filter((line) => told.every((lines) => lines.has(line)));
  // The same may have been seen in two shares.
  const good = new Set<string>();
  let bad = 0;
  for (const { lines, code } of all) {
    for (const line of lines) {
      if (line.startsWith('FAIL') || line.startsWith('no case')) console.log(line);
      if (line.startsWith(GOOD)) good.add(line.split(': ')[1] ?? line);
    }
    const counts = /^\d+ passed, (\d+) failed$/.exec(lines.at(-1) ?? '');
    bad += Number(counts?.[1] ?? 0) || (code === 0 ? 0 : 1);
  }
  console.log(`${readSupport().rows().length} fields: ${untried.length} inert or refused by code that no case tries`);
  console.log(`${good.size} passed, ${bad} failed`);
  process.exit(bad === 0 ? 0 : 1);
};
if (args.length === 0) await shares();

const part = args.includes('--share') ? Number(args[args.indexOf('--share') + 1]) : undefined;
const isMine = (index: number): boolean => part === undefined || index % SHARES === part;

const table = readSupport();
let passed = 0;
const failures: string[] = [];
const judge = (good: boolean, what: string): void => {
  if (good) {
    passed++;
    if (part !== undefined) console.log(`${GOOD}${what}`);
  } else {
    failures.push(what);
    console.log(`FAIL ${what}`);
  }
};
const nameOf = (row: Row): string => `${titleOf(row.section)} ${row.field}`;

const proven = new Map<Row, string>();
/** Rows whose place was in some case's configuration. */
const tried = new Set<Row>();

const proveCase = async (test: FieldCase, rows: SupportTable): Promise<void> => {
  await using beside = (await test.start?.()) ?? undefined;
  void beside;
  const parts = test.parts();
  const baseline = await runUntilSame(test, parts);
  judge(baseline.same, `case ${test.name}${baseline.same ? '' : `: saw ${baseline.seen}, wants ${JSON.stringify(test.expect)}`}`);
  if (!baseline.same) return;
  const honoured = [...honouredIn(rows, parts)].filter(
    ([row]) => row.words === test.name || (writes && row.words === '-' && !proven.has(row)),
  );
  await each(honoured, async ([row, places]) => {
    // A case is only written down when it notices twice: a busy machine must not speak for a field.
    const noticed = (await isNoticed(test, parts, places)) && (row.words === test.name || (await isNoticed(test, parts, places)));
    if (noticed) proven.set(row, test.name);
    if (row.words === test.name) judge(noticed, `${nameOf(row)} is honoured: ${test.name} ${noticed ? 'notices' : 'passes without it'}`);
  });
  const others = unsetIn(
    rows,
    parts,
    (row) => !tried.has(row) && (row.class === 'inert' || (row.class === 'refused' && row.words === 'code')),
  );
  await each([...others], async ([row, changed]) => {
    const outcome = row.class === 'inert' ? await runUntilSame(test, changed) : await run(test, changed);
    if (row.class === 'inert' && mindsSample(outcome, row.field)) return;
    tried.add(row);
    const good = row.class === 'inert' ? outcome.same : refusesByName(outcome, row.field);
    judge(good, `${nameOf(row)} is ${row.class}: ${test.name} with it saw ${outcome.seen}`);
  });
};

const cases = CASES.filter((test, i) => (chosen === undefined || test.name === chosen) && isMine(i));
if (isMine(0)) for (const problem of tableProblems(table)) judge(false, problem);
if (chosen === undefined && isMine(0))
  for (const { row, problem } of await refusals(table)) judge(problem === '', `${nameOf(row)} is refused: ${problem}`);
for (const test of cases) await proveCase(test, table);
const unknown = new Set(table.rows().flatMap((row) => (row.class === 'honoured' && row.words !== '-' ? [row.words] : [])));
for (const test of CASES) unknown.delete(test.name);
if (isMine(0)) for (const name of unknown) judge(false, `there is no case ${name}`);

if (writes) {
  writeCases(new Map([...proven].filter(([row]) => row.words === '-')));
  writeFileSync(PAGE, referencePage(readSupport()));
}
const after = writes ? readSupport() : table;
const missing = after.rows().filter((row) => row.class === 'honoured' && row.words === '-');
const untried = table.rows().filter((row) => !tried.has(row) && (row.class === 'inert' || row.words === 'code'));
if (args.includes('--missing') || part !== undefined) for (const row of missing) console.log(`no case yet: ${nameOf(row)}`);
if (args.includes('--missing') || part !== undefined) for (const row of untried) console.log(`${UNTRIED}${nameOf(row)} ${row.class}`);
console.log(
  `${after.rows().length} fields: ${missing.length} honoured without a case yet, ${untried.length} inert or refused by code that no case tries`,
);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
