// Tokens of one kind in a folder of the state: a file each, of which only the hash of the secret is kept; found by their text, listed
// without the hash, gone when they are revoked or have ended. Bounded in number.
import { join } from 'node:path';
import { err, ok, type Result } from '../../base/result.ts';
import { readStateFolder, removeStateFile, writeStateFile } from '../state-file.ts';
import { findSecret, HASH, ID, mintSecret } from './secret-text.ts';

export interface TokenFacts {
  readonly id: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}

export interface TokenKind<T extends TokenFacts> {
  readonly folder: string;
  readonly prefix: string;
  readonly max: number;
  /** For who must hear that there are too many. */
  readonly name: string;
  /** What this kind keeps besides, from a file that anybody may have written; undefined: it is none. */
  readonly parse: (fields: Readonly<Record<string, unknown>>) => Omit<T, keyof TokenFacts> | undefined;
}

type Stored<T> = T & { readonly hash: string };

export class StoredTokens<T extends TokenFacts> {
  readonly #kind: TokenKind<T>;
  readonly #now: () => number;
  readonly #byId = new Map<string, Stored<T>>();

  constructor(kind: TokenKind<T>, now: () => number) {
    this.#kind = kind;
    this.#now = now;
    for (const { text } of readStateFolder(kind.folder)) {
      const stored = parseStored(text, kind);
      if (stored) this.#byId.set(stored.id, stored);
    }
    this.#sweep();
  }

  /** The only time the token is seen. */
  create(own: Omit<T, keyof TokenFacts>, lifeMs: number): Result<T & { readonly token: string }, string> {
    this.#sweep();
    const { max, name, prefix } = this.#kind;
    if (this.#byId.size >= max) return err(`there are ${max} ${name} tokens: revoke some`);
    const { id, token, hash } = mintSecret(prefix);
    const nowMs = this.#now();
    const facts: TokenFacts = { id, createdAt: new Date(nowMs).toISOString(), expiresAt: new Date(nowMs + lifeMs).toISOString() };
    const shown = { ...own, ...facts } as T;
    this.put({ ...shown, hash });
    return ok({ ...shown, token });
  }

  /** Those that are worth something, oldest first. */
  list(): readonly T[] {
    this.#sweep();
    return [...this.#byId.values()]
      .map(({ hash: _, ...shown }) => shown as unknown as T)
      .sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  revoke(id: string): boolean {
    if (!this.#byId.delete(id)) return false;
    removeStateFile(join(this.#kind.folder, id));
    return true;
  }

  /** Undefined: not a token of ours, or not any more. */
  find(token: string): Stored<T> | undefined {
    const stored = findSecret(this.#kind.prefix, token, this.#byId);
    if (stored === undefined || Date.parse(stored.expiresAt) > this.#now()) return stored;
    this.revoke(stored.id);
    return undefined;
  }

  put(stored: Stored<T>): void {
    writeStateFile(join(this.#kind.folder, stored.id), JSON.stringify(stored));
    this.#byId.set(stored.id, stored);
  }

  #sweep(): void {
    for (const { id, expiresAt } of [...this.#byId.values()]) if (Date.parse(expiresAt) <= this.#now()) this.revoke(id);
  }
}

const parseStored = <T extends TokenFacts>(text: string, { parse }: TokenKind<T>): Stored<T> | undefined => {
  try {
    const fields = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const { id, hash, createdAt, expiresAt } = fields as Partial<Record<keyof TokenFacts | 'hash', unknown>>;
    if (typeof id !== 'string' || !ID.test(id) || typeof hash !== 'string' || !HASH.test(hash)) return undefined;
    if (typeof createdAt !== 'string' || typeof expiresAt !== 'string' || Number.isNaN(Date.parse(expiresAt))) return undefined;
    const own = parse(fields);
    return own && ({ ...own, id, hash, createdAt, expiresAt } as unknown as Stored<T>);
  } catch {
    return undefined;
  }
};
