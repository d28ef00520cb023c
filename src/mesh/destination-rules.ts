// DestinationRules: merged per host and namespace, and looked up as a client sees them (own namespace, then the service's, then the
// root namespace; the first hit wins, nothing is merged across namespaces).

import type { MeshConfig } from '../api/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import type { DestinationRule } from '../api/specs.ts';
import { compareSpecificity, hostSubsetOf, isWildcard, resolveShortName } from './host.ts';
import { compareAge, creationMsOf } from './order.ts';
import type { Service } from './service.ts';
import { selects } from './service.ts';
import { isPrivate, resolveExportTo, visibleTo } from './visibility.ts';

export interface MergedRule {
  readonly host: string;
  readonly namespace: string;
  readonly exportTo: readonly string[];
  readonly workloadSelector: Readonly<Record<string, string>> | undefined;
  readonly spec: DestinationRule;
  /** Oldest first; the first gives the name shown in metadata. */
  readonly sources: readonly Resource<'DestinationRule'>[];
}

export interface ShadowedSubset {
  readonly resource: Resource<'DestinationRule'>;
  readonly index: number;
  readonly winner: string;
}

export interface DestinationRuleIndex {
  readonly all: readonly MergedRule[];
  readonly shadowed: readonly ShadowedSubset[];
  for(
    client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
    service: Pick<Service, 'host' | 'namespace'>,
  ): MergedRule | undefined;
}

export const buildDestinationRules = (
  resources: readonly Resource<'DestinationRule'>[],
  mesh: MeshConfig,
  domain: string,
): DestinationRuleIndex => {
  const aged = resources
    .map((r) => ({ name: r.name, namespace: r.namespace, creationMs: creationMsOf(r.creationTimestamp), r }))
    .sort(compareAge);
  const byNamespace = new Map<string, MergedRule[]>();
  const shadowed: ShadowedSubset[] = [];
  for (const { r } of aged) {
    const rule: MergedRule = {
      host: resolveShortName(r.spec.host, r.namespace, domain),
      namespace: r.namespace,
      exportTo:
        r.spec.workloadSelector === undefined
          ? resolveExportTo(r.spec.exportTo, r.namespace, mesh.defaultDestinationRuleExportTo)
          : [r.namespace],
      workloadSelector: r.spec.workloadSelector?.matchLabels,
      spec: r.spec,
      sources: [r],
    };
    const list = byNamespace.get(r.namespace) ?? [];
    byNamespace.set(r.namespace, list);
    const at = list.findIndex(
      (o) => o.host === rule.host && sameList(o.exportTo, rule.exportTo) && sameLabels(o.workloadSelector, rule.workloadSelector),
    );
    const older = list[at];
    if (older === undefined) list.push(rule);
    else list[at] = merge(older, rule, r, shadowed);
  }
  for (const list of byNamespace.values()) list.sort((a, b) => compareSpecificity(a.host, b.host));
  return {
    all: [...byNamespace.values()].flat(),
    shadowed,
    for: (client, service) => lookUp(byNamespace, mesh.rootNamespace, client, service),
  };
};

const merge = (older: MergedRule, rule: MergedRule, r: Resource<'DestinationRule'>, shadowed: ShadowedSubset[]): MergedRule => {
  const subsets = [...(older.spec.subsets ?? [])];
  for (const [index, s] of (rule.spec.subsets ?? []).entries()) {
    if (subsets.some((o) => o.name === s.name)) shadowed.push({ resource: r, index, winner: older.sources[0]?.name ?? '' });
    else subsets.push(s);
  }
  const trafficPolicy = older.spec.trafficPolicy ?? rule.spec.trafficPolicy;
  return {
    ...older,
    spec: { ...older.spec, ...(subsets.length === 0 ? {} : { subsets }), ...(trafficPolicy === undefined ? {} : { trafficPolicy }) },
    sources: [...older.sources, r],
  };
};

const sameList = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((x) => b.includes(x));

const sameLabels = (a: Readonly<Record<string, string>> | undefined, b: Readonly<Record<string, string>> | undefined): boolean =>
  JSON.stringify(Object.entries(a ?? {}).sort()) === JSON.stringify(Object.entries(b ?? {}).sort());

const lookUp = (
  byNamespace: ReadonlyMap<string, readonly MergedRule[]>,
  rootNamespace: string,
  client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
  service: Pick<Service, 'host' | 'namespace'>,
): MergedRule | undefined => {
  const usable = (r: MergedRule): boolean => {
    if (r.workloadSelector !== undefined && !(client.namespace === r.namespace && selects(r.workloadSelector, client.labels))) return false;
    return isWildcard(r.host) ? hostSubsetOf(service.host, r.host) : r.host === service.host;
  };
  const pick = (namespace: string, extra: (r: MergedRule) => boolean): MergedRule | undefined => {
    const found = (byNamespace.get(namespace) ?? []).filter((r) => usable(r) && extra(r));
    const host = found[0]?.host;
    const best = found.filter((r) => r.host === host);
    // Of rules for one host, the one that names this workload is meant for it.
    return best.find((r) => r.workloadSelector !== undefined) ?? best[0];
  };
  const own =
    client.namespace === rootNamespace
      ? pick(client.namespace, (r) => isPrivate(r.exportTo, r.namespace))
      : pick(client.namespace, () => true);
  if (own !== undefined) return own;
  const serviceNamespace = service.namespace === '' ? client.namespace : service.namespace;
  return (
    pick(serviceNamespace, (r) => visibleTo(r.exportTo, client.namespace)) ??
    pick(rootNamespace, (r) => visibleTo(r.exportTo, client.namespace))
  );
};
