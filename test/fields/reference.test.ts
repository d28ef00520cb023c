// The tables of src/xds/support/ are whole, and docs/reference/xds.md is what they say.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CASES } from './cases.ts';
import { PAGE, referencePage } from './reference-page.ts';
import { readSupport, tableProblems } from './support-table.ts';

test('every field that a sidecar can be sent has its row, and no row is of another', () => {
  assert.deepEqual(tableProblems(readSupport()), []);
});

test('every honoured row names a case that is there, or says that it has none', () => {
  const cases = new Set(['-', ...CASES.map((c) => c.name)]);
  assert.equal(cases.size, CASES.length + 1, 'two cases have one name');
  assert.deepEqual(
    readSupport()
      .rows()
      .filter((row) => row.class === 'honoured' && !cases.has(row.words))
      .map((row) => `${row.section.message} ${row.field}: ${row.words}`),
    [],
  );
});

test('docs/reference/xds.md is made from the tables: npm run test:fields -- --write', () => {
  assert.ok(readFileSync(PAGE, 'utf8') === referencePage(readSupport()), 'docs/reference/xds.md is not what the tables say');
});
