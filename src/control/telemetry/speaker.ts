// Who a stream speaks for, and who has an address: what the control plane knows of its replicas, for proxies that know addresses only. A
// proxy's own side is always what is known of it here, whatever it says.
import type { Instance } from '../../mesh/instance.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import { SENDS_SUMMARIES } from '../../xds/client-features.ts';
import type { JsonObject } from '../../xds/gen/types.ts';
import type { Party } from './recent-requests.ts';

export interface Speaker {
  /** `name.namespace` */
  readonly proxy: string;
  readonly party: Party;
  readonly gateway: boolean;
  readonly addresses: readonly string[];
  /** Its counters are what was added since the message before. */
  readonly deltas: boolean;
}

export const NOBODY: Party = { workload: '', namespace: '', service: '', version: '', principal: '' };

export interface DirectoryOptions {
  readonly instances: { list(): readonly Instance[] };
  readonly trustDomain: () => string;
  readonly now: () => number;
}

/** Replicas come and go; an address may be looked up for each entry. */
const FRESH_MS = 1000;

export class Directory {
  readonly #options: DirectoryOptions;
  #byAddress = new Map<string, Party>();
  #byName = new Map<string, Party>();
  #readMs = Number.NEGATIVE_INFINITY;

  constructor(options: DirectoryOptions) {
    this.#options = options;
  }

  /** Of `ip` or `ip:port`. */
  at(address: string): Party | undefined {
    this.#refresh();
    return this.#byAddress.get(hostOf(address));
  }

  /** `workload.namespace` of a replica. */
  workload({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
    this.#refresh();
    return `${this.#byName.get(`${namespace}/${name}`)?.workload ?? name}.${namespace}`;
  }

  speaker(node: ProxyNode): Speaker {
    this.#refresh();
    const { name, namespace, labels } = node;
    const known = this.#byName.get(`${namespace}/${name}`);
    const workload = textIn(node.metadata, 'WORKLOAD_NAME') || name;
    const principal = node.serviceAccount === '' ? '' : this.#principal(namespace, node.serviceAccount);
    return {
      proxy: `${name}.${namespace}`,
      party: known ?? { workload, namespace, service: '', version: versionOf(labels), principal },
      gateway: node.kind === 'router',
      addresses: node.ipAddresses,
      deltas: node.metadata[SENDS_SUMMARIES] !== undefined,
    };
  }

  #refresh(): void {
    const now = this.#options.now();
    if (now - this.#readMs < FRESH_MS) return;
    this.#readMs = now;
    this.#byAddress = new Map();
    this.#byName = new Map();
    for (const { name, namespace, workload, address, labels, serviceAccount } of this.#options.instances.list()) {
      const principal = serviceAccount === '' ? '' : this.#principal(namespace, serviceAccount);
      const party = { workload: workload || name, namespace, service: '', version: versionOf(labels), principal };
      this.#byAddress.set(address, party);
      this.#byName.set(`${namespace}/${name}`, party);
    }
  }

  #principal(namespace: string, serviceAccount: string): string {
    return `spiffe://${this.#options.trustDomain()}/ns/${namespace}/sa/${serviceAccount}`;
  }
}

const textIn = (metadata: JsonObject, name: string): string => {
  const value = metadata[name];
  return typeof value === 'string' ? value : '';
};

/** In the order in which Istio looks. */
const versionOf = (labels: Readonly<Record<string, string>>): string =>
  labels['service.istio.io/canonical-revision'] ?? labels['app.kubernetes.io/version'] ?? labels['version'] ?? '';

export const hostOf = (address: string): string => {
  if (address.startsWith('[')) return address.slice(1, address.indexOf(']'));
  const colon = address.lastIndexOf(':');
  return colon < 0 || address.indexOf(':') !== colon ? address : address.slice(0, colon);
};

/** `spiffe://TRUST/ns/NAMESPACE/sa/ACCOUNT`: who a peer is where nothing else is known of it. */
export const partyOfPrincipal = (principal: string): Party => {
  const [, namespace = '', account = ''] = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(principal) ?? [];
  // A workload with the name of its account is what nearly every mesh has; it is better than nobody.
  return { workload: account, namespace, service: '', version: '', principal };
};
