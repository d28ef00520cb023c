// Tokens for the admin API on a TCP port: a role, an end, a name for the log. Whoever opens the Unix socket needs none: its mode lets
// the owner alone in. Only hashes are kept.
import { join } from 'node:path';
import { err, ok, type Result } from '../../base/result.ts';
import { readStateFolder, removeStateFile, writeStateFile } from '../state-file.ts';
import { findSecret, HASH, ID, mintSecret } from './secret-text.ts';

/** `read` sees; `write` changes as well. */
export type Role = 'read' | 'write';

export interface AccessToken {
  readonly id: string;
  readonly role: Role;
  readonly createdAt: string;
  readonly expiresAt: string;
}

interface Stored extends AccessToken {
  readonly hash: string;
}

const ACCESS_PREFIX = 'skein_admin_';
const ACCESS_TOKENS_MAX = 1000;

export class AccessTokens {
  readonly #folder: string;
  readonly #now: () => number;
  readonly #byId = new Map<string, Stored>();

  constructor(folder: string, now: () => number) {
    this.#folder = folder;
    this.#now = now;
    for (const { text } of readStateFolder(folder)) {
      const stored = parseStored(text);
      if (stored) this.#byId.set(stored.id, stored);
    }
    this.#sweep();
  }

  /** The only time the token is seen. */
  create(role: Role, lifeMs: number): Result<AccessToken & { readonly token: string }, string> {
    this.#sweep();
    if (this.#byId.size >= ACCESS_TOKENS_MAX) return err(`there are ${ACCESS_TOKENS_MAX} admin tokens: revoke some`);
    const { id, token, hash } = mintSecret(ACCESS_PREFIX);
    const nowMs = this.#now();
    const shown = { id, role, createdAt: new Date(nowMs).toISOString(), expiresAt: new Date(nowMs + lifeMs).toISOString() };
    const stored: Stored = { ...shown, hash };
    writeStateFile(join(this.#folder, id), JSON.stringify(stored));
    this.#byId.set(id, stored);
    return ok({ ...shown, token });
  }

  list(): readonly AccessToken[] {
    this.#sweep();
    return [...this.#byId.values()].map(({ hash: _, ...shown }) => shown).sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  revoke(id: string): boolean {
    if (!this.#byId.delete(id)) return false;
    removeStateFile(join(this.#folder, id));
    return true;
  }

  /** Undefined: not a token of ours, or not any more. */
  holder(token: string): AccessToken | undefined {
    const stored = findSecret(ACCESS_PREFIX, token, this.#byId);
    return stored && Date.parse(stored.expiresAt) > this.#now() ? stored : undefined;
  }

  #sweep(): void {
    for (const { id, expiresAt } of [...this.#byId.values()]) if (Date.parse(expiresAt) <= this.#now()) this.revoke(id);
  }
}

const parseStored = (text: string): Stored | undefined => {
  try {
    const { id, hash, role, createdAt, expiresAt } = JSON.parse(text) as Partial<Record<keyof Stored, unknown>>;
    if (typeof id !== 'string' || !ID.test(id) || typeof hash !== 'string' || !HASH.test(hash)) return undefined;
    if ((role !== 'read' && role !== 'write') || typeof createdAt !== 'string') return undefined;
    if (typeof expiresAt !== 'string' || Number.isNaN(Date.parse(expiresAt))) return undefined;
    return { id, hash, role, createdAt, expiresAt };
  } catch {
    return undefined;
  }
};
