// The address plan of a local mesh. All of it lives in namespaces of our own; nothing of the host's network changes. Pure.
//
// 10.244.0.0/17   workloads that are in the mesh, and gateways: they reach each other directly over the bridge
// 10.244.128.0/17 workloads outside the mesh: everything of theirs goes through the hub, which also plays kube-proxy for them
// 10.245.0.0/16   where a meshed application's own connections come from; the sidecar's come from 10.244.x.y
// 10.96.0.0/16    virtual addresses of Services

export const HUB_ADDRESS = '10.244.0.1';
export const WORKLOAD_RANGE = '10.244.0.0/16';
export const MESHED_RANGE = '10.244.0.0/17';
export const APPLICATION_RANGE = '10.245.0.0/16';
export const VIRTUAL_RANGE = '10.96.0.0/16';
export const EGRESS_PORT = 15999;
export const BRIDGE = 'skein0';

/** Where the first workload stands: lower ones are the hub's. */
const FIRST = 10;
const LAST = 0x7ffe;
const UNMESHED = 0x8000;

export interface WorkloadAddress {
  readonly address: string;
  /** The application's source; undefined outside the mesh and for gateways. */
  readonly applicationSource: string | undefined;
  /** The bridge port in the hub; unique and short enough for an interface name. */
  readonly link: string;
}

/** Gives each replica an address of its own; a freed one is given again only when the others are used up. */
export class AddressPool {
  readonly #used = new Set<number>();
  readonly #next = { meshed: FIRST, unmeshed: FIRST };

  take(meshed: boolean, application: boolean): WorkloadAddress {
    const kind = meshed ? 'meshed' : 'unmeshed';
    for (let tried = FIRST; tried <= LAST; tried++) {
      const number = this.#next[kind];
      this.#next[kind] = number === LAST ? FIRST : number + 1;
      const index = number + (meshed ? 0 : UNMESHED);
      // x.y.z.0 and x.y.z.255 are legal here but surprise people and some resolvers.
      if (this.#used.has(index) || (index & 0xff) === 0 || (index & 0xff) === 0xff) continue;
      this.#used.add(index);
      const tail = `${index >> 8}.${index & 0xff}`;
      return { address: `10.244.${tail}`, applicationSource: meshed && application ? `10.245.${tail}` : undefined, link: `sk${index}` };
    }
    throw new Error('no address is left for another replica');
  }

  free({ link }: WorkloadAddress): void {
    this.#used.delete(Number(link.slice(2)));
  }
}
