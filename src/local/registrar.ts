// Tells the control plane about replicas, at once while it runs and again when it is back: what is wanted is kept here, what it was last
// told too, and the difference is sent until it is gone. Tells `changed` of every change, for the hub's tables.

import type { AdminClient, InstanceDocument } from './admin-client.ts';

const RETRY_MS = 200;

export class Registrar {
  readonly #admin: AdminClient;
  readonly #changed: () => void;
  readonly #wanted = new Map<string, InstanceDocument>();
  readonly #told = new Map<string, string>();
  #running = false;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(admin: AdminClient, changed: () => void) {
    this.#admin = admin;
    this.#changed = changed;
  }

  get instances(): readonly InstanceDocument[] {
    return [...this.#wanted.values()];
  }

  put(instance: InstanceDocument): void {
    this.#wanted.set(keyOf(instance), instance);
    this.#changed();
    this.#kick();
  }

  remove(namespace: string, name: string): void {
    this.#wanted.delete(`${namespace}/${name}`);
    this.#changed();
    this.#kick();
  }

  /** The control plane started anew: it is told everything again, and made to forget what is not ours. */
  forgetTold(known: readonly { readonly namespace: string; readonly name: string }[]): void {
    this.#told.clear();
    for (const instance of known) this.#told.set(keyOf(instance), '');
    this.#kick();
  }

  /** Resolves when the control plane knows everything, or at the latest after `withinMs`. */
  async settled(withinMs: number): Promise<boolean> {
    const until = Date.now() + withinMs;
    while (this.#difference().length > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    return this.#difference().length === 0;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #difference(): string[] {
    const keys = new Set([...this.#wanted.keys(), ...this.#told.keys()]);
    return [...keys].filter((key) => this.#told.get(key) !== textOf(this.#wanted.get(key)));
  }

  #kick(): void {
    clearTimeout(this.#timer);
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    void this.#send().then((sent) => {
      this.#running = false;
      const more = this.#again;
      this.#again = false;
      if (this.#closed) return;
      if (!sent) this.#timer = setTimeout(() => this.#kick(), RETRY_MS);
      else if (more) this.#kick();
    });
  }

  async #send(): Promise<boolean> {
    // Endpoints that go away first: callers meet them now.
    const keys = this.#difference().sort(
      (a, b) => Number(this.#wanted.get(a)?.ready ?? false) - Number(this.#wanted.get(b)?.ready ?? false),
    );
    const results = await Promise.all(keys.map((key) => this.#tell(key)));
    return results.every((ok) => ok);
  }

  async #tell(key: string): Promise<boolean> {
    const instance = this.#wanted.get(key);
    const [namespace = '', name = ''] = key.split('/');
    try {
      if (instance === undefined) {
        await this.#admin.deleteInstance(namespace, name);
        this.#told.delete(key);
      } else {
        await this.#admin.putInstance(instance);
        this.#told.set(key, textOf(instance) ?? '');
      }
      return true;
    } catch {
      return false; // it is restarting: told again
    }
  }
}

const keyOf = (instance: { readonly namespace: string; readonly name: string }): string => `${instance.namespace}/${instance.name}`;
const textOf = (instance: InstanceDocument | undefined): string | undefined =>
  instance === undefined ? undefined : JSON.stringify(instance);
