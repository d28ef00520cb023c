// Connections that sidecars' network filters refused by policy, the newest of them, as access logs of TCP tell. A ring of bounded length.
import { REFUSED_MAX } from './limits.ts';
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
  readonly #ring: RefusedConnection[] = [];
  #next = 0;

  add(connection: RefusedConnection): void {
    this.onAdd?.(connection);
    this.#ring[this.#next] = connection;
    this.#next = (this.#next + 1) % REFUSED_MAX;
  }

  /** Newest first. `remote`: an address with its port, or all of an address. */
  find(remote: string | undefined, limit: number): RefusedConnection[] {
    const found: RefusedConnection[] = [];
    for (let i = 1; i <= this.#ring.length && found.length < limit; i++) {
      const one = this.#ring[(this.#next - i + REFUSED_MAX) % REFUSED_MAX];
      if (one !== undefined && (remote === undefined || one.remote === remote || one.remote.startsWith(`${remote}:`))) found.push(one);
    }
    return found;
  }
}
