// The log services that this process sends to, each once however many places log there, and what is told of this process to them.

import { encode } from '../../xds/codec.ts';
import type { Node } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';

/** Something that sends what it was given. */
export interface LogExport {
  /** Sends what it can still send, then calls back. */
  close(done: () => void): void;
}

export class LogExports {
  readonly node: Node;
  readonly #byKey = new Map<string, LogExport>();
  #identity: Uint8Array | undefined;

  constructor(node: Node) {
    this.node = node;
  }

  /** The one of this key, which says all that it is made of. */
  at<T extends LogExport>(key: string, make: () => T): T {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known as T;
    const made = make();
    this.#byKey.set(key, made);
    return made;
  }

  /** The node, encoded. */
  get identity(): Uint8Array {
    this.#identity ??= encode('envoy.config.core.v3.Node', this.node);
    return this.#identity;
  }

  /** Nothing is taken any more; what waits leaves, within `withinMs`. */
  async close(clock: Clock, withinMs: number): Promise<void> {
    const exports = [...this.#byKey.values()];
    if (exports.length === 0) return;
    const all = Promise.all(exports.map((one) => new Promise<void>((resolve) => one.close(resolve))));
    const late = Promise.withResolvers<void>();
    const cancel = clock.after(withinMs, late.resolve);
    await Promise.race([all, late.promise]);
    cancel();
  }
}
