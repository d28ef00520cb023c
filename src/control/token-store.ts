// Tokens that prove which workload a stream or a certificate request comes from. Minted for one replica; only the hash is
// kept, on disk too, so a restarted control plane knows them and a stolen state folder yields none.
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readStateFolder, removeStateFile, writeStateFile } from './state-file.ts';

export interface TokenHolder {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly name: string;
  /** The replica's address; '' when it is not known. */
  readonly address: string;
}

/** A replica that restarts asks anew: the oldest of a replica's tokens goes. */
const TOKENS_PER_REPLICA_MAX = 4;
const PREFIX = 'skein_';

interface Stored extends TokenHolder {
  readonly hash: string;
  readonly mintedAt: string;
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

const parseStored = (text: string): Stored | undefined => {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof Stored, unknown>>;
    const { hash, namespace, serviceAccount, name, address, mintedAt } = value;
    if (typeof hash !== 'string' || typeof namespace !== 'string' || typeof serviceAccount !== 'string') return undefined;
    if (typeof name !== 'string' || typeof address !== 'string' || typeof mintedAt !== 'string') return undefined;
    return { hash, namespace, serviceAccount, name, address, mintedAt };
  } catch {
    return undefined;
  }
};

export class TokenStore {
  readonly #folder: string;
  readonly #byHash = new Map<string, Stored>();
  readonly #listeners = new Map<TokenHolder, Set<() => void>>();

  constructor(folder: string) {
    this.#folder = folder;
    for (const { text } of readStateFolder(folder)) {
      const stored = parseStored(text);
      if (stored) this.#byHash.set(stored.hash, stored);
    }
  }

  /** The only time the token is seen. */
  mint(holder: TokenHolder, nowMs: number): string {
    const token = PREFIX + randomBytes(32).toString('base64url');
    const hash = hashOf(token);
    const { namespace, serviceAccount, name, address } = holder;
    const stored: Stored = { hash, namespace, serviceAccount, name, address, mintedAt: new Date(nowMs).toISOString() };
    writeStateFile(join(this.#folder, hash), JSON.stringify(stored));
    this.#byHash.set(hash, stored);
    this.#trim(holder);
    return token;
  }

  /** Looked up by hash: the comparison leaks nothing about a token. */
  holder(token: string): TokenHolder | undefined {
    return this.#byHash.get(hashOf(token));
  }

  /** `gone` is called when the holder's token is revoked. Returns how to stop listening. */
  whenRevoked(holder: TokenHolder, gone: () => void): () => void {
    const listeners = this.#listeners.get(holder) ?? new Set();
    this.#listeners.set(holder, listeners.add(gone));
    return () => {
      listeners.delete(gone);
      if (listeners.size === 0) this.#listeners.delete(holder);
    };
  }

  /** A replica that is gone takes its tokens with it. */
  revoke(namespace: string, name: string): void {
    for (const stored of this.#of(namespace, name)) this.#remove(stored);
  }

  #of(namespace: string, name: string): Stored[] {
    return [...this.#byHash.values()].filter((t) => t.namespace === namespace && t.name === name);
  }

  #trim({ namespace, name }: TokenHolder): void {
    const own = this.#of(namespace, name).sort((a, b) => (a.mintedAt < b.mintedAt ? -1 : 1));
    for (const stored of own.slice(0, Math.max(0, own.length - TOKENS_PER_REPLICA_MAX))) this.#remove(stored);
  }

  #remove(stored: Stored): void {
    removeStateFile(join(this.#folder, stored.hash));
    this.#byHash.delete(stored.hash);
    for (const gone of [...(this.#listeners.get(stored) ?? [])]) gone();
  }
}
