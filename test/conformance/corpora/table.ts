// Files of tables/: rows of several Go tests, each judged by the judge of its test, and objects that the rows of one test share.

import { type Adapter, type LeftOut, type Row, row, text, type Verdict } from './case.ts';

/** `fixtures` are the shared objects of the row's test. */
type Judge = (input: Row, fixtures: Row) => Verdict;

/** A test that is not judged has its reason in place of a judge. */
export const table =
  (judges: Readonly<Record<string, Judge | LeftOut>>): Adapter =>
  ({ rows }) => {
    const fixtures = new Map(rows.filter((r) => r['fixtures'] !== undefined).map((r) => [text(r['test']), row(r['fixtures'])]));
    return rows.flatMap((r, index) => {
      const test = text(r['test']);
      if (r['case'] === undefined) return [];
      const input = row(r['case']);
      const name = text(input['name']) || text(input['Name']) || text(input['description']) || String(index);
      const judge = judges[test] ?? { leftOut: 'no judge knows this test' };
      const run = (): Verdict => (typeof judge === 'function' ? judge(input, fixtures.get(test) ?? {}) : judge);
      return [{ id: `${test}/${name}`, run }];
    });
  };
