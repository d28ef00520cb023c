// authz-builder.json: AuthorizationPolicies as the filters a workload's listener gets.

import { filtersOf, readFilter, sentFilter } from './authz-filters.ts';
import type { Adapter, Row, Verdict } from './case.ts';
import { differs, rows, text } from './case.ts';

export const authzBuilder: Adapter = ({ rows }) => rows.map((r) => ({ id: `${text(r['mode'])}/${text(r['name'])}`, run: () => judge(r) }));

const judge = (r: Row): Verdict => differs(filtersOf(r).map(sentFilter), rows(r['want']).map(readFilter));
