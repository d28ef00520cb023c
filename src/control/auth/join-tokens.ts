// Join tokens: with one, a machine that nobody here has started gets its first certificate, for one service account; later it comes with
// the certificate. Each has an end and a number of uses, and can be revoked. Only hashes are kept, on disk too; a use is on disk before
// it is worth anything, so a crash gives none back.
import { join } from 'node:path';
import { err, ok, type Result } from '../../base/result.ts';
import { readStateFolder, removeStateFile, writeStateFile } from '../state-file.ts';
import { isName } from './caller.ts';
import { findSecret, HASH, ID, mintSecret } from './secret-text.ts';

export interface JoinTokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly uses: number;
  readonly lifeMs: number;
}

/** What may be shown of one. */
export interface JoinToken {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly usesLeft: number;
  readonly createdAt: string;
  readonly expiresAt: string;
}

interface Stored extends JoinToken {
  readonly hash: string;
}

export const JOIN_PREFIX = 'skein_join_';
export const JOIN_TOKENS_MAX = 1000;
export const JOIN_USES_MAX = 10_000;
export const JOIN_LIFE_MS_MAX = 365 * 86_400_000;

export class JoinTokens {
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
  create({ namespace, serviceAccount, uses, lifeMs }: JoinTokenRequest): Result<JoinToken & { readonly token: string }, string> {
    this.#sweep();
    if (this.#byId.size >= JOIN_TOKENS_MAX) return err(`there are ${JOIN_TOKENS_MAX} join tokens: revoke some`);
    const { id, token, hash } = mintSecret(JOIN_PREFIX);
    const nowMs = this.#now();
    const shown: JoinToken = {
      id,
      namespace,
      serviceAccount,
      usesLeft: uses,
      createdAt: new Date(nowMs).toISOString(),
      expiresAt: new Date(nowMs + lifeMs).toISOString(),
    };
    this.#put({ ...shown, hash });
    return ok({ ...shown, token });
  }

  /** Those that are worth something, oldest first. */
  list(): readonly JoinToken[] {
    this.#sweep();
    return [...this.#byId.values()].map(({ hash: _, ...shown }) => shown).sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  revoke(id: string): boolean {
    if (!this.#byId.delete(id)) return false;
    removeStateFile(join(this.#folder, id));
    return true;
  }

  /** Takes one use. Which of unknown, spent, expired and revoked it is, the peer is not told. */
  use(token: string): JoinToken | undefined {
    const stored = findSecret(JOIN_PREFIX, token, this.#byId);
    if (!stored) return undefined;
    const { id } = stored;
    if (Date.parse(stored.expiresAt) <= this.#now()) {
      this.revoke(id);
      return undefined;
    }
    const left = stored.usesLeft - 1;
    if (left <= 0) this.revoke(id);
    else this.#put({ ...stored, usesLeft: left });
    return stored;
  }

  #put(stored: Stored): void {
    writeStateFile(join(this.#folder, stored.id), JSON.stringify(stored));
    this.#byId.set(stored.id, stored);
  }

  #sweep(): void {
    for (const { id, expiresAt } of [...this.#byId.values()]) if (Date.parse(expiresAt) <= this.#now()) this.revoke(id);
  }
}

const parseStored = (text: string): Stored | undefined => {
  try {
    const { id, hash, namespace, serviceAccount, usesLeft, createdAt, expiresAt } = JSON.parse(text) as Partial<
      Record<keyof Stored, unknown>
    >;
    if (typeof id !== 'string' || !ID.test(id) || typeof hash !== 'string' || !HASH.test(hash)) return undefined;
    if (typeof namespace !== 'string' || typeof serviceAccount !== 'string' || !isName(namespace) || !isName(serviceAccount))
      return undefined;
    if (typeof usesLeft !== 'number' || !(usesLeft >= 1)) return undefined;
    if (typeof createdAt !== 'string' || typeof expiresAt !== 'string' || Number.isNaN(Date.parse(expiresAt))) return undefined;
    return { id, hash, namespace, serviceAccount, usesLeft, createdAt, expiresAt };
  } catch {
    return undefined;
  }
};
