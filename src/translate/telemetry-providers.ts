// Where telemetry goes: the mesh's extension providers by name, and the clusters that lead to them.

import type { ExtensionProvider, MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { AnyMessage } from '../xds/gen/types.ts';
import { outboundCluster } from './names.ts';

/** Names are compared without regard to case. */
export const findProvider = (mesh: MeshConfig, name: string): ExtensionProvider | undefined =>
  mesh.extensionProviders.find((p) => (p.name ?? '').toLowerCase() === name.toLowerCase());

export interface Collector {
  readonly host: string;
  readonly cluster: string;
}

/** `service` is a host, or `namespace/host` where several namespaces have it. */
export const findCollector = (snapshot: Snapshot, service: string | undefined, port: number | undefined): Collector | undefined => {
  const [namespace, host] = (service ?? '').includes('/') ? (service ?? '').split('/') : [undefined, service ?? ''];
  const found = snapshot.services.withHost(host ?? '').filter((s) => namespace === undefined || s.namespace === namespace);
  const [only] = found;
  if (only === undefined || new Set(found.map((s) => s.namespace)).size > 1) return undefined;
  return { host: only.host, cluster: outboundCluster(port ?? 0, '', only.host) };
};

export const typed = (type: string, fields: Readonly<Record<string, unknown>>): AnyMessage => ({
  '@type': `type.googleapis.com/${type}`,
  ...fields,
});
