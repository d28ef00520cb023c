// Hot restart, the successor's side, and the messages of both: what the process before hands down, and how it is told that
// its successor is ready. The channel is inherited; nothing of it can be reached by anybody else.

import type { InheritedSocket } from '../listener/listening-sockets.ts';

/** In a successor's environment; taken out at once. */
export const HANDOVER_VARIABLE = 'SKEIN_HANDOVER';

/** The first message to the successor. */
export interface HandoverMessage {
  readonly version: 1;
  readonly epoch: number;
  readonly predecessors: readonly number[];
  readonly token: string | undefined;
  readonly sockets: readonly InheritedSocket[];
}

export type HeirMessage =
  | { readonly kind: 'waiting'; readonly reason: string }
  /** Keys of the sockets that it listens on. */
  | { readonly kind: 'ready'; readonly keys: readonly string[] }
  /** It has told whoever supervises it: the process before may end. */
  | { readonly kind: 'mine' };

export const readHeirMessage = (message: unknown): HeirMessage | undefined => {
  const { kind, reason, keys } = (message ?? {}) as { readonly kind?: unknown; readonly reason?: unknown; readonly keys?: unknown };
  if (kind === 'waiting' && typeof reason === 'string') return { kind, reason: reason.slice(0, 500) };
  if (kind === 'ready' && Array.isArray(keys)) return { kind, keys: keys.filter((k): k is string => typeof k === 'string') };
  return kind === 'mine' ? { kind } : undefined;
};

const MANIFEST_WITHIN_MS = 5_000;
const POLL_MS = 20;

/** Undefined: this process was started by itself. Throws when what it was promised does not come. */
export const receiveHandover = async (): Promise<Heir | undefined> => {
  if (process.env[HANDOVER_VARIABLE] === undefined) return undefined;
  delete process.env[HANDOVER_VARIABLE];
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const timer = setTimeout(() => reject(new Error('nothing was handed over')), MANIFEST_WITHIN_MS);
  const gone = (): void => reject(new Error('the process before ended'));
  process.once('message', resolve);
  process.once('disconnect', gone);
  try {
    const message = (await promise) as HandoverMessage;
    if (message.version !== 1) throw new Error(`the process before speaks another version of the handover (${String(message.version)})`);
    return new Heir(message);
  } finally {
    clearTimeout(timer);
    process.off('disconnect', gone);
  }
};

/** The process before may be gone: that is heard elsewhere. */
const tell = (message: HeirMessage): void => {
  if (process.connected) process.send?.(message, undefined, {}, () => undefined);
};

export class Heir {
  readonly handover: HandoverMessage;
  #mine = false;

  constructor(handover: HandoverMessage) {
    this.handover = handover;
    // Before it has handed over, its death is ours: whoever supervises it starts anew, on addresses that must be free.
    process.once('disconnect', () => {
      if (!this.#mine) process.exit(1);
    });
  }

  /**
   * Resolves once the process before has stepped back. `notReady` says what is still waited for, '' when nothing is; then
   * `open` begins to accept where only one of us can answer; `keys` says where we listen. `told` tells the supervisor, while the process before still
   * lives. Rejects when `open` does.
   */
  async takeOver(notReady: () => string, open: () => Promise<void>, keys: () => readonly string[], told: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let opened: 'not' | 'opening' | 'yes' = 'not';
    process.on('message', (message) => {
      if ((message as { readonly kind?: unknown } | null)?.kind === 'yours') resolve();
    });
    let said = '';
    const timer = setInterval(() => {
      const reason = opened === 'opening' ? 'its ports open' : notReady();
      if (reason === '' && opened === 'not') {
        opened = 'opening';
        open().then(() => {
          opened = 'yes';
        }, reject);
        return;
      }
      const message: HeirMessage = reason === '' ? { kind: 'ready', keys: keys() } : { kind: 'waiting', reason };
      const text = JSON.stringify(message);
      if (text === said) return;
      said = text;
      tell(message);
    }, POLL_MS);
    try {
      await promise;
    } finally {
      clearInterval(timer);
    }
    this.#mine = true;
    told();
    tell({ kind: 'mine' });
  }
}
