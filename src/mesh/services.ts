// Services and their endpoints from the resources and running instances. Pure: the same set in any order gives the same services.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { ofKind, type Resource } from '../api/resource.ts';
import { Memo } from '../base/memo.ts';
import { autoAddresses } from './auto-address.ts';
import { type Backend, ofEntry, ofInstance, ofPod } from './backend.ts';
import { clampExportTo, entryVisibility } from './entry-visibility.ts';
import type { Instance } from './instance.ts';
import { compareAge, compareText, creationMsOf } from './order.ts';
import type { Service } from './service.ts';
import { fromServiceEntry } from './service-entry.ts';
import { fromService, hostOf, isAlias, sliceOwner } from './service-kubernetes.ts';
import { allocateVirtualIps } from './virtual-ip.ts';

export interface ServicesInput {
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  readonly meshConfig: MeshConfig;
  readonly memo?: Memo;
}

export const buildServices = ({ resources, instances, meshConfig, memo = new Memo() }: ServicesInput): readonly Service[] => {
  const entryAgain = memo.pass('service entry');
  const completeAgain = memo.pass('complete service');
  const backends = backendsOf(resources, instances);
  const kubernetes = ofKind(resources, 'Service');
  const labels = new Map(ofKind(resources, 'Namespace').map((n) => [n.name, n.labels]));
  const input = {
    backends,
    slices: Map.groupBy(byName(ofKind(resources, 'EndpointSlice')), sliceOwner),
    endpoints: new Map(ofKind(resources, 'Endpoints').map((e) => [keyOf(e), e])),
    namespaces: new Map(ofKind(resources, 'Namespace').map((n) => [n.name, n.annotations])),
    meshConfig,
  };
  const taken = new Set(kubernetes.map((s) => s.spec.clusterIP).filter((ip): ip is string => ip !== undefined && ip !== ''));
  const vips = allocateVirtualIps(kubernetes.filter(needsVirtualIp).map(keyOf), taken);
  const services = kubernetes.filter((r) => !isAlias(r)).map((r) => fromService(r, vips.get(keyOf(r)), input));
  const kubernetesHosts = new Map(services.map((s, i) => [`${s.namespace}/${s.host}`, i]));
  for (const r of byAge(ofKind(resources, 'ServiceEntry'))) {
    const visibility = entryVisibility(meshConfig, r.namespace, labels.get(r.namespace) ?? {});
    const candidates = r.spec.workloadSelector === undefined ? undefined : backends.get(r.namespace);
    for (const entry of entryAgain(r, [meshConfig, candidates], () => fromServiceEntry(r, candidates ?? [], meshConfig))) {
      const exportTo = clampExportTo(entry.exportTo, entry.namespace, visibility);
      const service = exportTo === entry.exportTo ? entry : { ...entry, exportTo };
      const at = kubernetesHosts.get(`${service.namespace}/${service.host}`);
      const decorated = at === undefined ? undefined : services[at];
      // An entry for the host of a Service only adds the names that may be proven.
      if (at !== undefined && decorated !== undefined)
        services[at] = { ...decorated, subjectAltNames: [...decorated.subjectAltNames, ...service.subjectAltNames] };
      else services.push(service);
    }
  }
  const aliases = aliasesOf(kubernetes);
  const addresses = autoAddresses(services);
  return services
    .map((s) => {
      const names = aliases.get(s.host) ?? [];
      const autoAddress = addresses.get(`${s.namespace}/${s.host}`);
      return completeAgain(s, [names, autoAddress?.v4, autoAddress?.v6], () => ({ ...s, aliases: names, autoAddress }));
    })
    .sort((a, b) => compareAge(a, b) || compareText(a.host, b.host));
};

const keyOf = (r: Resource): string => `${r.namespace}/${r.name}`;

const byName = <R extends Resource>(list: readonly R[]): readonly R[] => [...list].sort((a, b) => compareText(a.name, b.name));

const byAge = <R extends Resource>(list: readonly R[]): readonly R[] =>
  list
    .map((r) => ({ name: r.name, namespace: r.namespace, creationMs: creationMsOf(r.creationTimestamp), r }))
    .sort(compareAge)
    .map(({ r }) => r);

const needsVirtualIp = (s: Resource<'Service'>): boolean => !isAlias(s) && (s.spec.clusterIP === undefined || s.spec.clusterIP === '');

/** WorkloadEntries before what runs, each by name. */
const backendsOf = (resources: readonly Resource[], instances: readonly Instance[]): ReadonlyMap<string, readonly Backend[]> => {
  const out = new Map<string, Backend[]>();
  const add = (list: readonly (Backend | undefined)[]): void => {
    for (const b of list) {
      if (b === undefined) continue;
      const known = out.get(b.endpoint.namespace);
      if (known === undefined) out.set(b.endpoint.namespace, [b]);
      else known.push(b);
    }
  };
  add(
    byName(ofKind(resources, 'WorkloadEntry')).map((r) =>
      ofEntry(r.name, r.namespace, { ...r.spec, labels: { ...r.spec.labels, ...r.labels } }, r.ready),
    ),
  );
  add(byName(ofKind(resources, 'Pod')).map(ofPod));
  add([...instances].sort((a, b) => compareText(a.name, b.name)).map(ofInstance));
  return out;
};

/** Hosts that stand for another, by the host at the end of their chain. What leads in a circle stands for nothing. */
const aliasesOf = (kubernetes: readonly Resource<'Service'>[]): ReadonlyMap<string, readonly string[]> => {
  const target = new Map(
    kubernetes.filter(isAlias).map((r) => [hostOf(r.name, r.namespace), (r.spec.externalName ?? '').replace(/\.$/, '')]),
  );
  const out = new Map<string, string[]>();
  for (const alias of [...target.keys()].sort()) {
    const passed = new Set<string>();
    let host: string | undefined = alias;
    while (host !== undefined && target.has(host) && !passed.has(host)) {
      passed.add(host);
      host = target.get(host);
    }
    if (host !== undefined && !passed.has(host)) out.set(host, [...(out.get(host) ?? []), alias]);
  }
  return out;
};
