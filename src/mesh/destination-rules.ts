// DestinationRules: merged per host and namespace, and looked up as a client sees them (own namespace, then the service's, then the
// root namespace; the first hit wins, nothing is merged across namespaces).

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Resource } from '../api/resource.ts';
import type { DestinationRule } from '../api/specs.ts';
import { Memo } from '../base/memo.ts';
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

/** What an older rule of the same host says already. */
export interface ShadowedPart {
  readonly resource: Resource<'DestinationRule'>;
  readonly part: 'subset' | 'policy';
  readonly path: string;
  readonly winner: string;
}

export interface DestinationRuleIndex {
  readonly all: readonly MergedRule[];
  readonly shadowed: readonly ShadowedPart[];
  /** Does any of them look at the labels of clients? */
  readonly selective: boolean;
  /** The rule for a client's calls to a service. */
  for(
    client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
    service: Pick<Service, 'host' | 'namespace'>,
  ): MergedRule | undefined;
  /** The rule for calls that arrive at a workload as part of a service. Rules that select workloads select callers. */
  inbound(namespace: string, service: Pick<Service, 'host' | 'namespace'>): MergedRule | undefined;
}

export const buildDestinationRules = (
  resources: readonly Resource<'DestinationRule'>[],
  mesh: MeshConfig,
  domain: string,
  memo = new Memo(),
): DestinationRuleIndex => {
  const ruleAgain = memo.pass('destination rule');
  const mergedAgain = memo.pass('merged destination rule');
  const aged = resources
    .map((r) => ({ name: r.name, namespace: r.namespace, creationMs: creationMsOf(r.creationTimestamp), r }))
    .sort(compareAge);
  const byNamespace = new Map<string, HostRules>();
  const shadowed: ShadowedPart[] = [];
  for (const { r } of aged) {
    const rule = ruleAgain(r, [mesh, domain], () => ruleOf(r, mesh, domain));
    const own = byNamespace.get(r.namespace) ?? { byHost: new Map<string, MergedRule[]>(), wildcards: [] };
    byNamespace.set(r.namespace, own);
    const list = own.byHost.get(rule.host) ?? [];
    if (list.length === 0 && isWildcard(rule.host)) own.wildcards.push(rule.host);
    own.byHost.set(rule.host, list);
    const at = list.findIndex((o) => sameList(o.exportTo, rule.exportTo) && sameLabels(o.workloadSelector, rule.workloadSelector));
    const older = list[at];
    if (older === undefined) list.push(rule);
    else {
      const merged = mergedAgain(r, [older, rule], () => merge(older, rule, r));
      list[at] = merged.rule;
      shadowed.push(...merged.shadowed);
    }
  }
  for (const { wildcards } of byNamespace.values()) wildcards.sort(compareSpecificity);
  return {
    all: [...byNamespace.values()].flatMap((own) => [...own.byHost.values()].flat()),
    shadowed,
    selective: aged.some(({ r }) => r.spec.workloadSelector !== undefined),
    for: (client, service) => choose(lookUp(byNamespace, mesh.rootNamespace, client.namespace, service), client),
    inbound: (namespace, service) =>
      lookUp(byNamespace, mesh.rootNamespace, namespace, service).find((r) => r.workloadSelector === undefined),
  };
};

const ruleOf = (r: Resource<'DestinationRule'>, mesh: MeshConfig, domain: string): MergedRule => ({
  host: resolveShortName(r.spec.host, r.namespace, domain),
  namespace: r.namespace,
  exportTo:
    r.spec.workloadSelector === undefined
      ? resolveExportTo(r.spec.exportTo, r.namespace, mesh.defaultDestinationRuleExportTo)
      : [r.namespace],
  workloadSelector: r.spec.workloadSelector?.matchLabels,
  spec: r.spec,
  sources: [r],
});

/** Of one namespace: rules by host, each list oldest first; wildcard hosts, the narrowest first. */
interface HostRules {
  readonly byHost: Map<string, MergedRule[]>;
  readonly wildcards: string[];
}

const merge = (
  older: MergedRule,
  rule: MergedRule,
  r: Resource<'DestinationRule'>,
): { readonly rule: MergedRule; readonly shadowed: readonly ShadowedPart[] } => {
  const shadowed: ShadowedPart[] = [];
  const winner = older.sources[0]?.name ?? '';
  const subsets = [...(older.spec.subsets ?? [])];
  for (const [index, s] of (rule.spec.subsets ?? []).entries()) {
    if (subsets.some((o) => o.name === s.name)) shadowed.push({ resource: r, part: 'subset', path: `spec.subsets[${index}]`, winner });
    else subsets.push(s);
  }
  if (older.spec.trafficPolicy !== undefined && rule.spec.trafficPolicy !== undefined)
    shadowed.push({ resource: r, part: 'policy', path: 'spec.trafficPolicy', winner });
  const trafficPolicy = older.spec.trafficPolicy ?? rule.spec.trafficPolicy;
  const spec = { ...older.spec, ...(subsets.length === 0 ? {} : { subsets }), ...(trafficPolicy === undefined ? {} : { trafficPolicy }) };
  return { rule: { ...older, spec, sources: [...older.sources, r] }, shadowed };
};

const sameList = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((x) => b.includes(x));

const sameLabels = (a: Readonly<Record<string, string>> | undefined, b: Readonly<Record<string, string>> | undefined): boolean =>
  JSON.stringify(Object.entries(a ?? {}).sort()) === JSON.stringify(Object.entries(b ?? {}).sort());

/** All rules for the host that fits best in the first namespace that has one: the client's, the service's, the root namespace. */
const lookUp = (
  byNamespace: ReadonlyMap<string, HostRules>,
  rootNamespace: string,
  clientNamespace: string,
  service: Pick<Service, 'host' | 'namespace'>,
): readonly MergedRule[] => {
  const visible = (r: MergedRule): boolean => visibleTo(r.exportTo, clientNamespace);
  const pick = (namespace: string, extra: (r: MergedRule) => boolean): readonly MergedRule[] => {
    const own = byNamespace.get(namespace);
    if (own === undefined) return [];
    const exact = (own.byHost.get(service.host) ?? []).filter(extra);
    if (exact.length > 0) return exact;
    for (const host of own.wildcards) {
      const wide = hostSubsetOf(service.host, host) ? (own.byHost.get(host) ?? []).filter(extra) : [];
      if (wide.length > 0) return wide;
    }
    return [];
  };
  // Rules of the root namespace are for everybody; only private ones are meant for the proxies there before those of a service.
  const isRoot = clientNamespace === rootNamespace;
  const own = pick(clientNamespace, isRoot ? (r) => isPrivate(r.exportTo, r.namespace) : visible);
  if (own.length > 0) return own;
  // The narrowest host that anything is exported for decides; whether the client may see its rules comes after.
  const shared = (namespace: string): readonly MergedRule[] => pick(namespace, (r) => !isPrivate(r.exportTo, r.namespace)).filter(visible);
  const ofService = service.namespace === '' ? [] : shared(service.namespace);
  return ofService.length > 0 ? ofService : shared(rootNamespace);
};

/** A rule that names workloads is for their calls, and before rules that name none. */
const choose = (
  candidates: readonly MergedRule[],
  client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
): MergedRule | undefined =>
  candidates.find(
    (r) => r.workloadSelector !== undefined && client.namespace === r.namespace && selects(r.workloadSelector, client.labels),
  ) ?? candidates.find((r) => r.workloadSelector === undefined);
