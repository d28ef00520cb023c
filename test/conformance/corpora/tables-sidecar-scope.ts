// Judges of tables/pilot_pkg_model.json about scopes: what a Sidecar imports.

import type { Resource } from '../../../src/api/resource.ts';
import { buildDestinationRules } from '../../../src/mesh/destination-rules.ts';
import { readImports, selectServices } from '../../../src/mesh/sidecar-hosts.ts';
import { buildSidecarScopes } from '../../../src/mesh/sidecar-scope.ts';
import { buildVirtualServices } from '../../../src/mesh/virtual-services.ts';
import { meshConfigOf, resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, labelsOf, type Row, row, rows, text, texts, type Verdict } from './case.ts';
import { gist, indexOf, serviceOf } from './service-rows.ts';

/** Whatever namespace the object names, the scope is made for this one. */
const NAMESPACE = 'mynamespace';

const objects = <K extends Resource['kind']>(list: readonly unknown[], kind: K, namespace: string): Resource<K>[] =>
  list.map((o) => resourceOf(o, namespace)).filter((r): r is Resource<K> => r?.kind === kind);

export const sidecarScope = (r: Row, fixtures: Row): Verdict => {
  const mesh = meshConfigOf();
  const sidecars = objects([r['sidecarConfig']], 'Sidecar', NAMESPACE).map((s) => ({ ...s, namespace: NAMESPACE }));
  const { index } = buildVirtualServices(objects(rows(r['virtualServices']), 'VirtualService', ''), mesh, '');
  const scopes = buildSidecarScopes(sidecars, { services: indexOf(rows(r['services'])), virtualServices: index, meshConfig: mesh });
  const labels = sidecars[0]?.labels ?? {};
  const client = { kind: 'sidecar' as const, namespace: NAMESPACE, labels, dnsCapture: false, ipAddresses: [] };
  const scope = scopes.for(client);
  const key = (s: { readonly host: string }): string => s.host;
  const byHost = (list: readonly Row[]): unknown =>
    list
      .map(serviceOf)
      .sort((a, b) => (key(a) < key(b) ? -1 : 1))
      .map(gist);
  const got = [...scope.services].sort((a, b) => (key(a) < key(b) ? -1 : 1)).map(gist);
  const wrong = differs(got, byHost(rows(r['expectedServices'])));
  if (wrong !== undefined || r['expectedDr'] === undefined || r['expectedDr'] === null) return wrong;
  const rules = buildDestinationRules(objects(Object.values(fixtures), 'DestinationRule', NAMESPACE), mesh, '');
  const wanted = row(row(r['expectedDr'])['spec']);
  const rule = rules.for({ namespace: NAMESPACE, labels: labelsOf(labels) }, { host: text(wanted['host']), namespace: NAMESPACE });
  return differs(rule?.spec, wanted);
};

export const egressImports = (r: Row): Verdict => {
  const namespace = text(r['namespace']);
  const hosts = Object.entries(row(r['listenerHosts'])).flatMap(([from, set]) => [
    ...texts(row(set)['allHosts']).map((h) => `${from}/${h}`),
    ...texts(row(set)['excludedHosts']).map((h) => `~${from === '*' ? '' : from}/${h}`),
  ]);
  const services = rows(r['services']).map(serviceOf);
  const got = selectServices(readImports(hosts, namespace), services, namespace, (s) => s);
  return differs(got.map(gist), rows(r['expected']).map(serviceOf).map(gist));
};
