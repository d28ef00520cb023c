// Which objects stand behind where a proxy sends requests: the DestinationRule that the caller uses and the part of it that counts, the
// hosts of a service, and what a caller may call at all. Looked up as the translation does. Pure.

import type { Resource } from '../api/resource.ts';
import type { TrafficPolicy } from '../api/specs.ts';
import { type Endpoint, type Service, selects } from '../mesh/service.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { type KnownMesh, nodeOf, type Place, placeOf } from './known-mesh.ts';
import { connectionRefusal } from './security-places.ts';
import { type AskedRoute, hostAsked, targetOf } from './taken-rule.ts';

const NOBODY = { namespace: '', labels: {} } as const;

export const serviceOf = (asked: AskedRoute): Service | undefined => {
  const { mesh, node } = asked;
  const { host } = targetOf(asked.logged);
  return (node === undefined ? undefined : mesh.snapshot.scopes.for(node).service(host)) ?? mesh.snapshot.services.withHost(host)[0];
};

/** The DestinationRules of which the caller's was made, the oldest first. */
export const rulesOf = (asked: AskedRoute): readonly Resource<'DestinationRule'>[] => {
  const service = serviceOf(asked);
  return service === undefined ? [] : (asked.mesh.snapshot.destinationRules.for(asked.node ?? NOBODY, service)?.sources ?? []);
};

export type PolicyPart = 'connectionPool' | 'outlierDetection' | 'tls';

interface PolicyAt {
  readonly policy: TrafficPolicy | undefined;
  readonly path: string;
}

/** Where a part of the caller's traffic policy is written, and what it says: a subset goes before the rule, a port before the rest. */
export const partOf = (
  asked: AskedRoute,
  part: PolicyPart,
): { readonly place: Place; readonly policy: Pick<TrafficPolicy, PolicyPart> } | undefined => {
  const { port, subset } = targetOf(asked.logged);
  const rules = rulesOf(asked);
  const ofSubset = (r: Resource<'DestinationRule'>): PolicyAt => {
    const at = (r.spec.subsets ?? []).findIndex((s) => s.name === subset);
    return { policy: at < 0 ? undefined : r.spec.subsets?.[at]?.trafficPolicy, path: `spec.subsets[${at}].trafficPolicy` };
  };
  const ofRule = (r: Resource<'DestinationRule'>): PolicyAt => ({ policy: r.spec.trafficPolicy, path: 'spec.trafficPolicy' });
  for (const level of subset === '' ? [ofRule] : [ofSubset, ofRule]) {
    for (const rule of rules) {
      const { policy, path } = level(rule);
      const at = (policy?.portLevelSettings ?? []).findIndex((p) => p.port?.number === port);
      const own = policy?.portLevelSettings?.[at];
      if (own?.[part] !== undefined) return { place: placeOf(rule, `${path}.portLevelSettings[${at}].${part}`), policy: own };
      if (policy?.[part] !== undefined) return { place: placeOf(rule, `${path}.${part}`), policy };
    }
  }
  return undefined;
};

export const subsetPlaces = (asked: AskedRoute): readonly Place[] => {
  const { subset } = targetOf(asked.logged);
  return rulesOf(asked).flatMap((r) => {
    const at = (r.spec.subsets ?? []).findIndex((s) => s.name === subset);
    return subset === '' || at < 0 ? [] : [placeOf(r, `spec.subsets[${at}]`)];
  });
};

export const servicePlaces = ({ mesh, logged }: AskedRoute): readonly Place[] =>
  mesh.snapshot.services.withHost(targetOf(logged).host).map((s) => ({
    kind: s.registry === 'Kubernetes' ? 'Service' : 'ServiceEntry',
    namespace: s.namespace,
    name: s.name,
    path: '',
    file: s.origin.file,
    line: s.origin.line,
  }));

/** What may have left no host, the likeliest first: hosts that are ready were ejected, a subset has none of them, or there are none. */
export const hostlessPlaces = (asked: AskedRoute): readonly Place[] => {
  const { subset } = targetOf(asked.logged);
  const all = endpointsOf(serviceOf(asked));
  const labels = rulesOf(asked)
    .flatMap((r) => r.spec.subsets ?? [])
    .find((s) => s.name === subset)?.labels;
  const own = all.filter((e) => subset === '' || selects(labels ?? {}, e.labels));
  const [subsets, services] = [subsetPlaces(asked), servicePlaces(asked)];
  const outlier = partOf(asked, 'outlierDetection')?.place;
  const ejected = outlier === undefined ? [] : [outlier];
  if (own.some((e) => e.ready)) return [...ejected, ...subsets, ...services];
  return all.length > 0 ? [...subsets, ...services, ...ejected] : [...services, ...subsets, ...ejected];
};

const endpointsOf = (service: Service | undefined): readonly Endpoint[] => [...(service?.endpoints.values() ?? [])].flat();

/** Plain text towards a port that takes mutual TLS only: who says the one, and who the other. */
export const plainTextPlaces = (asked: AskedRoute): readonly Place[] => {
  const tls = partOf(asked, 'tls');
  if (tls?.policy.tls?.mode !== 'DISABLE') return [];
  const refusals = endpointsOf(serviceOf(asked)).flatMap(({ address, port }) => {
    const called = asked.mesh.instances.find((i) => i.address === address);
    return called === undefined ? [] : (connectionRefusal(asked.mesh, nodeOf(asked.mesh, called), port) ?? []);
  });
  const [refusal] = refusals;
  return refusal === undefined ? [] : [tls.place, refusal];
};

export interface Unreached {
  readonly outcome: string;
  readonly places: readonly Place[];
  readonly hint: string;
}

/** A proxy that calls only what it knows met a name or an address that it does not know. */
export const notKnown = (asked: AskedRoute, node: ProxyNode): Unreached => {
  const { mesh, logged } = asked;
  const { sidecar } = mesh.snapshot.scopes.for(node);
  const called = hostAsked(logged) || logged.local;
  const who = `${node.name}.${node.namespace}`;
  const mode = sidecar?.spec.outboundTrafficPolicy === undefined ? [] : [placeOf(sidecar, 'spec.outboundTrafficPolicy')];
  if (sidecar !== undefined && isService(mesh, called, node.namespace)) {
    const hosts = (sidecar.spec.egress ?? []).map((_, i) => placeOf(sidecar, `spec.egress[${i}].hosts`));
    return {
      outcome: `${called} is not among what ${who} may call by its Sidecar`,
      places: [...hosts, ...mode],
      hint: 'add its host to an egress listener of the Sidecar',
    };
  }
  const hint = 'add a ServiceEntry for it, or set the mode to ALLOW_ANY';
  if (mode.length > 0) return { outcome: `${called} is nobody that ${who} knows, and its Sidecar says REGISTRY_ONLY`, places: mode, hint };
  return {
    outcome: `${called} is nobody that ${who} knows, and the mesh settings say outboundTrafficPolicy REGISTRY_ONLY`,
    places: [],
    hint,
  };
};

const isService = (mesh: KnownMesh, name: string, namespace: string): boolean =>
  mesh.snapshot.services.all.some(({ host }) => {
    const short = host.replace(/\.svc\..*$/, '');
    return name === host || name === short || name === `${short}.svc` || `${name}.${namespace}` === short;
  });
