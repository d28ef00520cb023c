// The secrets that a proxy's own configuration asks the control plane for. A proxy gets those of its own namespace and no others, and only
// where it is known, not just claimed, which workload it is.

import type { Cluster, Listener, Secret, TransportSocket } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { CA_SUFFIX, CONFIG_MAP_SCHEME, CREDENTIAL_SCHEME } from './names.ts';

/** Sorted by name. A credential without its Secret is left out: handshakes that need it fail, others go on. */
export const credentialSecrets = (
  c: Context,
  { clusters, listeners = [] }: { readonly clusters: readonly Cluster[]; readonly listeners?: readonly Listener[] },
): readonly Secret[] => {
  if (!c.node.proven) return [];
  const names = new Set<string>();
  for (const cluster of clusters) {
    collect(cluster.transport_socket, names);
    for (const m of cluster.transport_socket_matches ?? []) collect(m.transport_socket, names);
  }
  for (const l of listeners) for (const chain of l.filter_chains ?? []) collect(chain.transport_socket, names);
  return [...names].sort().flatMap((name) => secretOf(c, name) ?? []);
};

/** Names of secrets wherever they stand below a transport socket. */
const collect = (socket: TransportSocket | undefined, names: Set<string>): void => {
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { name, sds_config: source } = value as { readonly name?: unknown; readonly sds_config?: unknown };
    if (source !== undefined && typeof name === 'string' && (name.startsWith(CREDENTIAL_SCHEME) || name.startsWith(CONFIG_MAP_SCHEME)))
      names.add(name);
    for (const inner of Object.values(value)) visit(inner);
  };
  visit(socket?.typed_config);
};

const secretOf = (c: Context, resource: string): Secret | undefined => {
  const inConfigMap = resource.startsWith(CONFIG_MAP_SCHEME);
  const path = resource.slice((inConfigMap ? CONFIG_MAP_SCHEME : CREDENTIAL_SCHEME).length);
  const slash = path.indexOf('/');
  if (slash !== -1 && path.slice(0, slash) !== c.node.namespace) return undefined;
  const name = path.slice(slash + 1);
  const { secrets } = c.snapshot;
  if (name.endsWith(CA_SUFFIX)) {
    const own = name.slice(0, -CA_SUFFIX.length);
    const roots = inConfigMap ? secrets.publicRoots(c.node.namespace, own) : secrets.roots(c.node.namespace, own);
    if (roots === undefined) return undefined;
    const crl = roots.revokedPem === undefined ? {} : { crl: { inline_bytes: roots.revokedPem } };
    return { name: resource, validation_context: { trusted_ca: { inline_bytes: roots.certificatesPem }, ...crl } };
  }
  if (inConfigMap) return undefined;
  const pair = secrets.keyPair(c.node.namespace, name);
  if (pair === undefined) return undefined;
  return {
    name: resource,
    tls_certificate: { certificate_chain: { inline_bytes: pair.certificatePem }, private_key: { inline_bytes: pair.keyPem } },
  };
};
