// authz-decisions.json: requests against the policies of authz-builder.json, decided by the filters we build from them.

import { filtersOf } from './authz-filters.ts';
import type { Adapter, Row, Verdict } from './case.ts';
import { differs, row, rows, text } from './case.ts';
import { decide } from './rbac-engine.ts';

export const authzDecisions: Adapter = (corpus) => {
  const policies = corpus.other('authz-builder.json');
  return corpus.rows.flatMap((r) => {
    const source = policies.find((p) => p['mode'] === r['mode'] && p['name'] === r['name']);
    const id = `${text(r['mode'])}/${text(r['name'])}`;
    return rows(r['vectors']).map((v) => ({
      id: `${id}/${text(v['label'])}`,
      run: () => judge(source ?? {}, row(v['request']), row(v['expect'])),
    }));
  });
};

/** What the vector says; who decided is a matter of words. */
const judge = (source: Row, request: Row, { by: _, ...expected }: Row): Verdict => {
  const got = decide(filtersOf(source), request);
  const fields = Object.keys(expected).map((k) => [k, got[k as keyof typeof got]]);
  return differs(Object.fromEntries(fields), expected);
};
