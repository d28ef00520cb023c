// Join tokens: with one, a machine that nobody here has started gets its first certificate, for one service account; later it comes with
// the certificate. Each has an end and a number of uses, and can be revoked. Only hashes are kept, on disk too; a use is on disk before
// it is worth anything, so a crash gives none back.
import type { Result } from '../../base/result.ts';
import { JOIN_PREFIX } from '../../identity/join-token.ts';
import { isName } from './caller.ts';
import { StoredTokens, type TokenFacts } from './stored-tokens.ts';

export interface JoinTokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly uses: number;
  readonly lifeMs: number;
}

/** What may be shown of one. */
export interface JoinToken extends TokenFacts {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly usesLeft: number;
}

const JOIN_TOKENS_MAX = 1000;
export const JOIN_USES_MAX = 10_000;
export const JOIN_LIFE_MS_MAX = 365 * 86_400_000;

export class JoinTokens {
  readonly #tokens: StoredTokens<JoinToken>;

  constructor(folder: string, now: () => number) {
    this.#tokens = new StoredTokens({ folder, prefix: JOIN_PREFIX, max: JOIN_TOKENS_MAX, name: 'join', parse }, now);
  }

  /** The only time the token is seen. */
  create({ namespace, serviceAccount, uses, lifeMs }: JoinTokenRequest): Result<JoinToken & { readonly token: string }, string> {
    return this.#tokens.create({ namespace, serviceAccount, usesLeft: uses }, lifeMs);
  }

  /** Those that are worth something, oldest first. */
  list(): readonly JoinToken[] {
    return this.#tokens.list();
  }

  revoke(id: string): boolean {
    return this.#tokens.revoke(id);
  }

  /** It would be worth something, where it is worth anything. Takes no use. */
  knows(token: string): boolean {
    return this.#tokens.find(token) !== undefined;
  }

  /** Takes one use. Which of unknown, spent, expired and revoked it is, the peer is not told. */
  use(token: string): JoinToken | undefined {
    const stored = this.#tokens.find(token);
    if (!stored) return undefined;
    const left = stored.usesLeft - 1;
    if (left <= 0) this.#tokens.revoke(stored.id);
    else this.#tokens.put({ ...stored, usesLeft: left });
    return stored;
  }
}

const parse = (fields: Readonly<Record<string, unknown>>) => {
  const { namespace, serviceAccount, usesLeft } = fields as Partial<Record<keyof JoinToken, unknown>>;
  if (typeof namespace !== 'string' || typeof serviceAccount !== 'string' || !isName(namespace) || !isName(serviceAccount))
    return undefined;
  return typeof usesLeft === 'number' && usesLeft >= 1 ? { namespace, serviceAccount, usesLeft } : undefined;
};
