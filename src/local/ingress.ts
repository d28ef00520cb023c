// What the host's side of the relay listens on, brought to what is wanted one change after the other. An address that cannot be had is said
// and tried again with the next change; the others work.

import type { IngressAddress } from './ingress-plan.ts';
import { ask, type IngressRule } from './relay-protocol.ts';

export interface IngressEvents {
  opened(url: string): void;
  refused(message: string): void;
  changed(): void;
}

export class Ingress {
  readonly #hostSocket: string;
  readonly #events: IngressEvents;
  #work: Promise<void> = Promise.resolve();
  #closed = false;
  addresses: readonly IngressAddress[] = [];

  constructor(hostSocket: string, events: IngressEvents) {
    this.#hostSocket = hostSocket;
    this.#events = events;
  }

  get rules(): readonly IngressRule[] {
    return this.addresses.map((a) => a.rule);
  }

  set(wanted: readonly IngressAddress[]): Promise<void> {
    this.#work = this.#work.then(() => this.#bring(wanted)).catch((error: unknown) => this.#events.refused(`ingress: ${String(error)}`));
    return this.#work;
  }

  /** No new connections; those there live on. Always resolves. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#tell([]).catch(() => undefined);
  }

  async #bring(wanted: readonly IngressAddress[]): Promise<void> {
    const held = new Set(this.addresses.map(keyOf));
    if (this.#closed || (wanted.length === held.size && wanted.every((a) => held.has(keyOf(a))))) return;
    const listening = wanted.filter((a) => held.has(keyOf(a)));
    if (listening.length < held.size) await this.#tell(listening);
    for (const address of wanted.filter((a) => !held.has(keyOf(a)))) {
      const { host, port } = address.rule.listen;
      try {
        await this.#tell([...listening, address]);
        listening.push(address);
        this.#events.opened(`${address.scheme}://${hostText(host)}:${port}`);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#events.refused(`cannot listen on ${host}:${port} for the ingress gateway: ${reason}`);
      }
    }
    this.addresses = listening;
    this.#events.changed();
  }

  async #tell(addresses: readonly IngressAddress[]): Promise<void> {
    (await ask(this.#hostSocket, { op: 'ingress', rules: addresses.map((a) => a.rule) })).destroy();
  }
}

/** As it stands in a URL. */
export const hostText = (host: string): string => (host.includes(':') ? `[${host}]` : host);

const keyOf = (address: IngressAddress): string => JSON.stringify(address);
