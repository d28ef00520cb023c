// What can stand behind a service: running instances, Pods that objects describe, WorkloadEntries. One shape for all of them.

import type { Resource } from '../api/resource.ts';
import type { WorkloadEntry } from '../api/specs.ts';
import type { Instance } from './instance.ts';
import { type Endpoint, NO_LOCALITY, parseLocality } from './service.ts';

/** Label that says whether something terminates mutual TLS. */
const TLS_MODE_LABEL = 'security.istio.io/tlsMode';
/** Label of a Pod that says where it runs; dots stand for slashes. */
const LOCALITY_LABEL = 'istio-locality';
/** Label of an endpoint that says on which network it is; failover by labels looks at it. */
export const NETWORK_LABEL = 'topology.istio.io/network';

export interface Backend {
  readonly name: string;
  readonly endpoint: Omit<Endpoint, 'port'>;
  /** Ports by name. */
  readonly ports: ReadonlyMap<string, number>;
  /** A WorkloadEntry names ports for the service's ports, an instance those it listens on. */
  readonly kind: 'instance' | 'entry';
}

export const ofInstance = (i: Instance): Backend => ({
  name: i.name,
  kind: 'instance',
  ports: new Map(i.ports.map((p) => [p.name, p.port])),
  endpoint: {
    address: i.address,
    labels: i.labels,
    namespace: i.namespace,
    serviceAccount: i.serviceAccount,
    mtls: i.meshed && i.labels[TLS_MODE_LABEL] !== 'disabled',
    locality: i.locality === undefined ? NO_LOCALITY : parseLocality(i.locality),
    weight: 1,
    workload: i.workload,
    ready: i.ready,
  },
});

/** Undefined while it has no address, and once it has ended. */
export const ofPod = (r: Resource<'Pod'>): Backend | undefined => {
  const { spec, status } = r.spec;
  const address = status?.podIP ?? status?.podIPs?.[0]?.ip ?? '';
  if (address === '' || status?.phase === 'Succeeded' || status?.phase === 'Failed') return undefined;
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  const ready = status?.conditions?.find((c) => c.type === 'Ready');
  return {
    name: r.name,
    kind: 'instance',
    // Of ports with one name the first counts, as in Kubernetes.
    ports: new Map(containers.flatMap((c) => (c.ports ?? []).map((p): [string, number] => [p.name ?? '', p.containerPort])).reverse()),
    endpoint: {
      address,
      labels: r.labels,
      namespace: r.namespace,
      serviceAccount: spec?.serviceAccountName ?? spec?.serviceAccount ?? 'default',
      mtls: r.labels[TLS_MODE_LABEL] === 'istio',
      locality: parseLocality(r.labels[LOCALITY_LABEL]?.replaceAll('.', '/')),
      weight: 1,
      workload: workloadOf(r),
      ready: ready === undefined ? status?.phase !== 'Pending' : ready.status === 'True',
      ...placeOf(spec?.nodeName, spec?.hostname, spec?.subdomain),
    },
  };
};

/** Of what runs in Kubernetes: its node, and its own name below a subdomain. */
export const placeOf = (
  node: string | undefined = '',
  hostname: string | undefined = '',
  subdomain: string | undefined = '',
): Pick<Endpoint, 'node' | 'dnsName'> => ({
  ...(node === '' ? {} : { node }),
  ...(hostname === '' || subdomain === '' ? {} : { dnsName: `${hostname}.${subdomain}` }),
});

/** A Deployment's Pods are named for it, its revision and themselves. */
const workloadOf = (r: Resource<'Pod'>): string => {
  const hash = r.labels['pod-template-hash'] ?? '';
  const at = hash === '' ? -1 : r.name.lastIndexOf(`-${hash}-`);
  return at <= 0 ? r.name : r.name.slice(0, at);
};

/** Undefined without address and network. With a network alone it is reached by that network's gateways, from others. */
export const ofEntry = (name: string, namespace: string, e: WorkloadEntry, ready = true): Backend | undefined => {
  const address = e.address ?? '';
  if (address === '' && (e.network ?? '') === '') return undefined;
  const labels = (e.network ?? '') === '' ? (e.labels ?? {}) : { ...e.labels, [NETWORK_LABEL]: e.network ?? '' };
  const mode = labels[TLS_MODE_LABEL];
  return {
    name,
    kind: 'entry',
    ports: new Map(Object.entries(e.ports ?? {})),
    endpoint: {
      address,
      labels,
      namespace,
      serviceAccount: e.serviceAccount ?? '',
      // Said by label; without one, a service account means that somebody proves it.
      mtls: mode === undefined ? (e.serviceAccount ?? '') !== '' : mode === 'istio',
      locality: parseLocality(e.locality),
      weight: e.weight === undefined || e.weight === 0 ? 1 : e.weight,
      workload: name,
      ready,
    },
  };
};

export const at = (b: Backend, port: number): Endpoint => ({ ...b.endpoint, port });
