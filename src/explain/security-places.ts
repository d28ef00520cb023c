// Which objects stand behind what a proxy refuses before or beside AuthorizationPolicies: mutual TLS modes and token rules.

import { selects } from '../mesh/service.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { type KnownMesh, type Place, placeOf } from './known-mesh.ts';

/** The PeerAuthentication by which a port is STRICT; undefined when none says so. */
export const connectionRefusal = (mesh: KnownMesh, node: ProxyNode, port: number): Place | undefined => {
  const { peerAuthentication, meshConfig } = mesh.snapshot;
  const selective = (labels: Readonly<Record<string, string>> | undefined): boolean => Object.keys(labels ?? {}).length > 0;
  const own = peerAuthentication.all.filter((p) => p.namespace === node.namespace);
  const workload =
    node.namespace === meshConfig.rootNamespace
      ? undefined
      : own.find((p) => selective(p.spec.selector?.matchLabels) && selects(p.spec.selector?.matchLabels ?? {}, node.labels));
  const wide = own.find((p) => !selective(p.spec.selector?.matchLabels));
  const root = peerAuthentication.all.find((p) => p.namespace === meshConfig.rootNamespace && !selective(p.spec.selector?.matchLabels));
  const ofPort = workload?.spec.portLevelMtls?.[String(port)]?.mode;
  if (workload !== undefined && ofPort !== undefined && ofPort !== 'UNSET')
    return ofPort === 'STRICT' ? placeOf(workload, `spec.portLevelMtls.${port}`) : undefined;
  for (const policy of [workload, wide, root]) {
    const mode = policy?.spec.mtls?.mode;
    if (policy === undefined || mode === undefined || mode === 'UNSET') continue;
    return mode === 'STRICT' ? placeOf(policy, 'spec.mtls.mode') : undefined;
  }
  return undefined;
};

/**
 * The token rules of a workload: that of the issuer first, or all when nobody knows the issuer. `withAudience`: those alone that ask for
 * an audience.
 */
export const tokenPlaces = (mesh: KnownMesh, node: ProxyNode, issuer: string, withAudience = false): readonly Place[] => {
  const places = mesh.snapshot.requestAuthentication
    .policiesFor(node)
    .flatMap((policy) =>
      (policy.spec.jwtRules ?? []).map((rule, i) => ({
        own: rule.issuer === issuer,
        asks: (rule.audiences ?? []).length > 0,
        place: placeOf(policy, `spec.jwtRules[${i}]`),
      })),
    )
    .filter((p) => p.asks || !withAudience);
  return [...places.filter((p) => p.own), ...places.filter((p) => !p.own)].map((p) => p.place);
};

/** The CUSTOM policies of a workload. */
export const customPlaces = (mesh: KnownMesh, node: ProxyNode): readonly Place[] =>
  mesh.snapshot.authorization.forWorkload(node).custom.map((p) => placeOf(p));

/** Objects that could have limited requests at a workload: only EnvoyFilters bring such filters. */
export const filterPlaces = (mesh: KnownMesh, node: ProxyNode, word: RegExp): readonly Place[] => [
  ...new Map(
    mesh.snapshot.envoyFilters
      .forWorkload(node)
      .filter((patch) => word.test(JSON.stringify(patch.value)))
      .map((patch) => placeOf(patch.resource, `spec.configPatches[${patch.index}]`))
      .map((place) => [`${place.namespace}/${place.name}/${place.path}`, place]),
  ).values(),
];
