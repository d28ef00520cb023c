// Judges of tables/pilot_pkg_model.json: who sees what, and which of several rules is in force.

import type { Resource } from '../../../src/api/resource.ts';
import { buildDestinationRules } from '../../../src/mesh/destination-rules.ts';
import { clampExportTo, type Visibility } from '../../../src/mesh/entry-visibility.ts';
import { distributionOf } from '../../../src/mesh/service-kubernetes.ts';
import { buildVirtualServices } from '../../../src/mesh/virtual-services.ts';
import { resolveExportTo, visibleTo } from '../../../src/mesh/visibility.ts';
import { meshConfigOf, resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, leftOut, type Row, row, rows, text, texts, type Verdict } from './case.ts';

const ofKind = <K extends Resource['kind']>(objects: readonly unknown[], kind: K): Resource<K>[] =>
  objects.map((o) => resourceOf(o, '')).filter((r): r is Resource<K> => r?.kind === kind);

export const bestHost = (r: Row): Verdict => {
  const rules = texts(r['in']).map((host, i) => ({ kind: 'DestinationRule', metadata: { name: `r${i}`, namespace: 'n' }, spec: { host } }));
  const index = buildDestinationRules(ofKind(rules, 'DestinationRule'), meshConfigOf(), '');
  const found = index.for({ namespace: 'n', labels: {} }, { host: text(r['needle']), namespace: 'n' });
  return differs(found?.host ?? '', text(r['want']));
};

const VISIBILITIES: readonly Visibility[] = ['PUBLIC', 'NAMESPACE', 'NONE'];

/** Seen from namespace foo. */
export const serviceVisible = (r: Row): Verdict => {
  const about = row(row(r['service'])['Attributes']);
  const defaults = texts(row(row(r['pushContext'])['exportToDefaults'])['service']);
  const namespace = text(about['Namespace']);
  const clamps = row(row(row(r['pushContext'])['Mesh'])['serviceEntryVisibility'])['applyToSidecars'] === true;
  const visibility = clamps ? (VISIBILITIES[Number(about['Visibility'] ?? 0)] ?? 'PUBLIC') : 'PUBLIC';
  const exportTo = clampExportTo(resolveExportTo(texts(about['ExportTo']), namespace, defaults), namespace, visibility);
  return differs(visibleTo(exportTo, 'foo'), r['expect'] === true);
};

export const destinationRuleFor = (r: Row, fixtures: Row): Verdict => {
  const index = buildDestinationRules(ofKind(Object.values(fixtures), 'DestinationRule'), meshConfigOf(), '');
  const found = index.for({ namespace: text(r['proxyNs']), labels: {} }, { host: text(r['host']), namespace: text(r['serviceNs']) });
  return differs((found?.spec.subsets ?? []).map((s) => s.name).sort(), texts(r['wantSubsets']).sort());
};

export const virtualServicesFor = (r: Row, fixtures: Row): Verdict => {
  const mesh = meshConfigOf({ rootNamespace: 'zzz' });
  const { index } = buildVirtualServices(ofKind(Object.values(fixtures), 'VirtualService'), mesh, '');
  const found = index.for(text(r['proxyNs']), text(r['gateway']));
  return differs(
    found.flatMap((v) => v.hosts.map((h) => h.toLowerCase())).sort(),
    texts(r['wantHosts'])
      .map((h) => h.toLowerCase())
      .sort(),
  );
};

export const delegates = (r: Row): Verdict => {
  const objects = rows(r['virtualServices']);
  if (objects.some((o) => o['kind'] === undefined)) return leftOut('the data have lost the rules of this case');
  const mesh = meshConfigOf({ defaultVirtualServiceExportTo: texts(r['defaultExportTo']) });
  const { index } = buildVirtualServices(ofKind(objects, 'VirtualService'), mesh, '');
  const gist = (name: string, hosts: readonly string[], http: unknown): unknown => ({ name, hosts, http });
  const got = index.all.map((v) => gist(v.name, v.hosts, v.http));
  const expected = rows(r['expectedVirtualServices']).map((v) => {
    const spec = row(v['spec']);
    return gist(text(row(v['metadata'])['name']), texts(spec['hosts']), spec['http'] ?? []);
  });
  return differs(got.map((x) => JSON.stringify(x)).length, expected.length) ?? differs(got, expected);
};

const DISTRIBUTIONS = ['any', 'zone', 'node'];

export const trafficDistribution = (r: Row): Verdict => {
  const annotation = 'networking.istio.io/traffic-distribution';
  const said = [r['specValue'], row(r['svcAnnotation'])[annotation], row(r['nsAnnotation'])[annotation]];
  const got = distributionOf(...said.map((v) => (typeof v === 'string' ? v : undefined)));
  return differs(got, DISTRIBUTIONS[Number(r['want'] ?? 0)]);
};
