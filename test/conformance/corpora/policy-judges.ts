// Judges of tables about which policies govern a workload, shared by the files they stand in.

import type { Resource } from '../../../src/api/resource.ts';
import { buildAuthorization } from '../../../src/mesh/authorization.ts';
import type { KeySets } from '../../../src/mesh/key-sets.ts';
import { jwtFilters } from '../../../src/translate/jwt-filter.ts';
import { resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, labelsOf, leftOut, type Row, row, rows, text, texts, type Verdict } from './case.ts';

const ROOT = 'istio-config';

const policiesOf = (list: unknown): readonly Resource<'AuthorizationPolicy'>[] =>
  rows(list)
    .map((c) => resourceOf(c))
    .filter((p): p is Resource<'AuthorizationPolicy'> => p !== undefined);

const workloadOf = (selection: unknown) => ({
  namespace: text(row(selection)['WorkloadNamespace']),
  labels: labelsOf(row(selection)['WorkloadLabels']),
});

/** Names by action; an absent list has none. */
export const listAuthorizationPolicies = (r: Row): Verdict => {
  const { allow, deny, audit, custom } = buildAuthorization(policiesOf(r['configs']), ROOT).forWorkload(workloadOf(r['selectionOpts']));
  const names = (list: readonly { readonly namespace: string; readonly name: string }[]) => list.map((p) => `${p.namespace}/${p.name}`);
  const want = (key: string) => rows(r[key]).map((p) => `${text(p['Namespace'])}/${text(p['Name'])}`);
  return differs(
    { allow: names(allow), deny: names(deny), audit: names(audit), custom: names(custom) },
    { allow: want('wantAllow'), deny: want('wantDeny'), audit: want('wantAudit'), custom: want('wantCustom') },
  );
};

export const policyMatcher = (r: Row): Verdict => {
  const selection = row(r['selection']);
  if (selection['IsWaypoint'] === true) return leftOut('waypoints belong to ambient, which this mesh has not');
  const policy = { kind: 'AuthorizationPolicy', metadata: { name: 'p', namespace: 'default' }, spec: r['policy'] };
  const { allow } = buildAuthorization(policiesOf([policy]), ROOT).forWorkload(workloadOf(selection));
  return differs(allow.length > 0, r['expected'] === true);
};

const keySets: KeySets = { known: new Map(), failed: new Map(), refusing: '{"keys":[]}' };

export const spaceDelimitedClaims = (r: Row): Verdict => {
  const [filter] = jwtFilters([{ issuer: 'i', spaceDelimitedClaims: texts(r['input']) }], { keySets, routesByClaim: false });
  const provider = row(row(row(filter?.typed_config)['providers'])['origins-0']);
  return differs(row(provider['normalize_payload_in_metadata'])['space_delimited_claims'], r['expected']);
};
