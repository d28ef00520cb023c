// Who calls, as far as it is proven, and what that allows: which node the caller may be. Pure. Nothing here is taken from what the caller
// says of itself.
import type { Instance } from '../../mesh/instance.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { TokenHolder } from '../token-store.ts';

/** What proved it. */
export type Proof = 'launcher token' | 'join token' | 'certificate' | 'issuer token' | 'reviewed token';

export interface Caller extends TokenHolder {
  /** '' where the proof names an account, and no single replica of it. */
  readonly name: string;
  readonly proof: Proof;
  /** Of a launcher token, as the store knows it: it tells when that is revoked. */
  readonly stored?: TokenHolder;
  /** The proof holds no longer than this. */
  readonly expiresAtMs?: number;
}

/** `system:serviceaccount:NAMESPACE:NAME`, as Kubernetes names the subject of its tokens; undefined for anybody else. */
export const serviceAccountOf = (subject: string): { readonly namespace: string; readonly serviceAccount: string } | undefined => {
  const [system, kind, namespace, serviceAccount, ...rest] = subject.split(':');
  if (system !== 'system' || kind !== 'serviceaccount' || rest.length > 0) return undefined;
  return isName(namespace) && isName(serviceAccount) ? { namespace, serviceAccount } : undefined;
};

/** What an identity, a path and a log line can hold alike. */
export const isName = (text: string | undefined): text is string =>
  text !== undefined && text.length <= 253 && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(text);

/** Replicas that are registered, by name and by address. */
export interface Replicas {
  byName(namespace: string, name: string): Instance | undefined;
  byAddress(address: string): Instance | undefined;
}

/** Why the caller cannot be that node; undefined when it can. */
export const nodeMismatch = (node: ProxyNode, caller: TokenHolder, replicas: Replicas): string | undefined =>
  caller.name === '' ? accountMismatch(node, caller, replicas) : replicaMismatch(node, caller);

const replicaMismatch = (node: ProxyNode, holder: TokenHolder): string | undefined => {
  const own = `${holder.name}.${holder.namespace}`;
  if (node.name !== holder.name || node.namespace !== holder.namespace)
    return `the token is ${own}'s; node ${JSON.stringify(node.id)} is another workload`;
  if (holder.address !== '' && !node.ipAddresses.includes(holder.address)) {
    return `the token is for ${own} at ${holder.address}; node ${JSON.stringify(node.id)} has another address`;
  }
  return undefined;
};

/** As Istio checks it (namespace and account), and beyond: neither the name nor an address of a replica of another account. */
const accountMismatch = (node: ProxyNode, { namespace, serviceAccount }: TokenHolder, replicas: Replicas): string | undefined => {
  const own = `${namespace}/${serviceAccount}`;
  const said = JSON.stringify(node.id);
  if (node.namespace !== namespace) return `the caller is service account ${own}; node ${said} is of another namespace`;
  if (node.serviceAccount !== '' && node.serviceAccount !== serviceAccount)
    return `the caller is service account ${own}; node ${said} names another account`;
  const named = replicas.byName(namespace, node.name);
  if (named && named.serviceAccount !== serviceAccount)
    return `the caller is service account ${own}; node ${said} is another account's workload`;
  for (const address of node.ipAddresses) {
    const there = replicas.byAddress(address);
    if (there && (there.namespace !== namespace || there.serviceAccount !== serviceAccount))
      return `the caller is service account ${own}; address ${address} of node ${said} is another workload's`;
  }
  return undefined;
};
