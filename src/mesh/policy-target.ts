// Which workloads a security policy is about: those of its own namespace (of all namespaces when it lies in the root namespace) that
// its selector matches, or the gateways its targetRefs name. One rule for AuthorizationPolicy and RequestAuthentication.

import type { Resource } from '../api/resource.ts';
import { compareAge, creationMsOf } from './order.ts';
import { selects } from './service.ts';

export interface PolicyWorkload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

type Attachable = Resource<'AuthorizationPolicy'> | Resource<'RequestAuthentication'>;
type TargetReference = NonNullable<Attachable['spec']['targetRef']>;

/** Of pods that serve a Gateway of the Gateway API. */
const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';

export const targetsOf = ({ spec }: Attachable): readonly TargetReference[] => [
  ...(spec.targetRef === undefined ? [] : [spec.targetRef]),
  ...(spec.targetRefs ?? []),
];

/** A Service, ServiceEntry or GatewayClass is reached by waypoints alone, of which this mesh has none. */
export const attachesToProxies = (target: TargetReference): boolean =>
  target.group === 'gateway.networking.k8s.io' && target.kind === 'Gateway';

const governs = (policy: Attachable, workload: PolicyWorkload): boolean =>
  reaches(targetsOf(policy), policy.spec.selector?.matchLabels ?? {}, policy, workload);

/** Target references win over a selector. */
export const reaches = (
  targets: readonly TargetReference[],
  selector: Readonly<Record<string, string>>,
  policy: { readonly namespace: string },
  workload: PolicyWorkload,
): boolean => {
  if (targets.length === 0) return selects(selector, workload.labels);
  const gateway = workload.labels[GATEWAY_NAME];
  if (gateway === undefined || policy.namespace !== workload.namespace) return false;
  return targets.some((t) => attachesToProxies(t) && t.name === gateway && inOwnNamespace(t, policy));
};

/** Nobody may speak about another namespace's gateway. */
const inOwnNamespace = (target: TargetReference, policy: { readonly namespace: string }): boolean =>
  target.namespace === undefined || target.namespace === '' || target.namespace === policy.namespace;

export interface PolicyIndex<P extends Attachable> {
  readonly all: readonly P[];
  /** Of the root namespace, then of the workload's own; in each the oldest first. */
  forWorkload(workload: PolicyWorkload): readonly P[];
}

export const buildPolicyIndex = <P extends Attachable>(policies: readonly P[], rootNamespace: string): PolicyIndex<P> => {
  const all = policies
    .map((p) => ({ name: p.name, namespace: p.namespace, creationMs: creationMsOf(p.creationTimestamp), p }))
    .sort(compareAge)
    .map(({ p }) => p);
  const byNamespace = new Map<string, P[]>();
  for (const p of all) {
    const list = byNamespace.get(p.namespace);
    if (list === undefined) byNamespace.set(p.namespace, [p]);
    else list.push(p);
  }
  return {
    all,
    forWorkload: (workload) =>
      [...new Set([rootNamespace, workload.namespace])].flatMap((ns) => (byNamespace.get(ns) ?? []).filter((p) => governs(p, workload))),
  };
};
