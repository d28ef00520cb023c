// Connections that sidecars' network filters refused by policy, the newest of them, as access logs of TCP tell: bounded in number.
import { REFUSED_MAX } from './limits.ts';
import { Newest } from './newest.ts';
import type { Party } from './recent-requests.ts';

/** Empty texts: not known. */
export interface RefusedConnection {
  readonly atMs: number;
  /** `name.namespace` of who refused, and tells. */
  readonly proxy: string;
  readonly source: Party;
  readonly destination: Party;
  /** The caller's address and port, by which its connection is told from others. */
  readonly remote: string;
  /** What was called. */
  readonly local: string;
  readonly sni: string;
  readonly cluster: string;
  readonly details: string;
}

const REFUSAL = /^(rbac_access_denied|ext_authz_denied)/;

/** Connection termination details that a policy brought. */
export const isRefusal = (details: string): boolean => details !== '' && REFUSAL.test(details);

export class RefusedConnections {
  /** Told of each as it comes. */
  onAdd: ((connection: RefusedConnection) => void) | undefined;
  readonly #newest = new Newest<RefusedConnection>({ countMax: REFUSED_MAX, bytesMax: Number.POSITIVE_INFINITY, bytesOf: () => 0 });

  add(connection: RefusedConnection): void {
    this.onAdd?.(connection);
    this.#newest.add(connection);
  }

  /** Newest first. `remote`: an address with its port, or all of an address. */
  find(remote: string | undefined, limit: number): RefusedConnection[] {
    const found: RefusedConnection[] = [];
    for (const one of this.#newest.newestFirst()) {
      if (found.length >= limit) break;
      if (remote === undefined || one.remote === remote || one.remote.startsWith(`${remote}:`)) found.push(one);
    }
    return found;
  }
}
