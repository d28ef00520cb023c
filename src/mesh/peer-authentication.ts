// PeerAuthentication: the mutual TLS mode of a workload's ports, and what a client may infer of a namespace.

import type { Resource } from '../api/resource.ts';
import { compareAge, creationMsOf } from './order.ts';
import { selects } from './service.ts';

export type MtlsMode = 'DISABLE' | 'PERMISSIVE' | 'STRICT';

export interface WorkloadMtls {
  /** Of ports that `ports` does not name. */
  readonly mode: MtlsMode;
  readonly ports: ReadonlyMap<number, MtlsMode>;
}

export interface PeerAuthenticationIndex {
  /** Oldest first. */
  readonly all: readonly Policy[];
  forWorkload(namespace: string, labels: Readonly<Record<string, string>>): WorkloadMtls;
  /** Of the namespace's or the mesh's policy; undefined when neither says. Workload and port policies are not looked at. */
  forNamespace(namespace: string): MtlsMode | undefined;
}

type Policy = Resource<'PeerAuthentication'>;

const modeOf = (mode: string | undefined): MtlsMode | undefined =>
  mode === 'DISABLE' || mode === 'PERMISSIVE' || mode === 'STRICT' ? mode : undefined;

const isNamespaceWide = (p: Policy): boolean => Object.keys(p.spec.selector?.matchLabels ?? {}).length === 0;

export const modeForPort = (mtls: WorkloadMtls, port: number): MtlsMode => mtls.ports.get(port) ?? mtls.mode;

export const buildPeerAuthentication = (resources: readonly Policy[], rootNamespace: string): PeerAuthenticationIndex => {
  const aged = resources
    .map((p) => ({ name: p.name, namespace: p.namespace, creationMs: creationMsOf(p.creationTimestamp), p }))
    .sort(compareAge);
  const wide = new Map<string, Policy>();
  const selective = new Map<string, Policy[]>();
  for (const { p } of aged) {
    if (isNamespaceWide(p)) {
      if (!wide.has(p.namespace)) wide.set(p.namespace, p);
    } else if (p.namespace !== rootNamespace) {
      // A selective policy in the root namespace selects nothing.
      const list = selective.get(p.namespace);
      if (list === undefined) selective.set(p.namespace, [p]);
      else list.push(p);
    }
  }
  const meshMode = modeOf(wide.get(rootNamespace)?.spec.mtls?.mode);
  const forNamespace = (namespace: string): MtlsMode | undefined =>
    (namespace === rootNamespace ? undefined : modeOf(wide.get(namespace)?.spec.mtls?.mode)) ?? meshMode;
  return {
    all: aged.map(({ p }) => p),
    forNamespace,
    forWorkload: (namespace, labels) => {
      const policy = selective.get(namespace)?.find((p) => selects(p.spec.selector?.matchLabels ?? {}, labels));
      const mode = modeOf(policy?.spec.mtls?.mode) ?? forNamespace(namespace) ?? 'PERMISSIVE';
      const ports = new Map<number, MtlsMode>();
      for (const [port, setting] of Object.entries(policy?.spec.portLevelMtls ?? {}))
        ports.set(Number(port), modeOf(setting?.mode) ?? mode);
      return { mode, ports };
    },
  };
};
