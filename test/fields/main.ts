// `npm run test:fields`: what src/xds/support/ says of every field is so. Each honoured field's case fails without it, each inert one
// changes nothing where it is tried, each refused one is refused by name. `--write` puts cases into honoured rows that have none and
// writes docs/reference/xds.md; `--case NAME` runs one case.
import { writeFileSync } from 'node:fs';
import { each, honouredIn, isNoticed, mindsSample, refusesByName, run, unsetIn } from './blanking.ts';
import type { FieldCase } from './case.ts';
import { CASES } from './cases.ts';
import { PAGE, referencePage } from './reference-page.ts';
import { refusals } from './refusals.ts';
import { type Row, readSupport, type SupportTable, tableProblems, titleOf, writeCases } from './support-table.ts';

const args = process.argv.slice(2);
const writes = args.includes('--write');
const chosen = args.includes('--case') ? args[args.indexOf('--case') + 1] : undefined;

const table = readSupport();
let passed = 0;
const failures: string[] = [];
const judge = (good: boolean, what: string): void => {
  if (good) passed++;
  else {
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
  const baseline = await run(test, parts);
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
    const outcome = await run(test, changed);
    if (row.class === 'inert' && mindsSample(outcome, row.field)) return;
    tried.add(row);
    const good = row.class === 'inert' ? outcome.same : refusesByName(outcome, row.field);
    judge(good, `${nameOf(row)} is ${row.class}: ${test.name} with it saw ${outcome.seen}`);
  });
};

const cases = CASES.filter((test) => chosen === undefined || test.name === chosen);
for (const problem of tableProblems(table)) judge(false, problem);
if (chosen === undefined)
  for (const { row, problem } of await refusals(table)) judge(problem === '', `${nameOf(row)} is refused: ${problem}`);
for (const test of cases) await proveCase(test, table);
const unknown = new Set(table.rows().flatMap((row) => (row.class === 'honoured' && row.words !== '-' ? [row.words] : [])));
for (const test of CASES) unknown.delete(test.name);
for (const name of unknown) judge(false, `there is no case ${name}`);

if (writes) {
  writeCases(new Map([...proven].filter(([row]) => row.words === '-')));
  writeFileSync(PAGE, referencePage(readSupport()));
}
const after = writes ? readSupport() : table;
const missing = after.rows().filter((row) => row.class === 'honoured' && row.words === '-');
const untried = table.rows().filter((row) => !tried.has(row) && (row.class === 'inert' || row.words === 'code'));
if (args.includes('--missing')) for (const row of missing) console.log(`no case yet: ${nameOf(row)}`);
if (args.includes('--missing')) for (const row of untried) console.log(`not tried: ${nameOf(row)} ${row.class}`);
console.log(
  `${after.rows().length} fields: ${missing.length} honoured without a case yet, ${untried.length} inert or refused by code that no case tries`,
);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
