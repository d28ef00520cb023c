// Listeners by the address that they are for: where a connection with an original destination goes.

import type { ListenerRuntime } from './listener-runtime.ts';

export class AddressIndex {
  #byAddress = new Map<string, ListenerRuntime>();

  /** Those in use, virtual and bound. */
  rebuild(listeners: Iterable<ListenerRuntime>): void {
    const index = new Map<string, ListenerRuntime>();
    for (const listener of listeners) if (listener.active !== undefined) index.set(listener.key, listener);
    this.#byAddress = index;
  }

  /** The listener of the address, else that of its port. */
  find(ip: string, port: number): ListenerRuntime | undefined {
    const exact = this.#byAddress.get(ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);
    if (exact !== undefined) return exact;
    return ip.includes(':')
      ? this.#byAddress.get(`[::]:${port}`)
      : (this.#byAddress.get(`0.0.0.0:${port}`) ?? this.#byAddress.get(`[::]:${port}`));
  }
}
