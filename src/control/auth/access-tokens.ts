// Tokens for the admin API on a TCP port: a role, an end, a name for the log. Whoever opens the Unix socket needs none: its mode lets
// the owner alone in. Only hashes are kept.
import type { Result } from '../../base/result.ts';
import { StoredTokens, type TokenFacts } from './stored-tokens.ts';

/** `read` sees; `write` changes as well. */
export type Role = 'read' | 'write';

export interface AccessToken extends TokenFacts {
  readonly role: Role;
}

const ACCESS_PREFIX = 'skein_admin_';
const ACCESS_TOKENS_MAX = 1000;

export class AccessTokens {
  readonly #tokens: StoredTokens<AccessToken>;

  constructor(folder: string, now: () => number) {
    this.#tokens = new StoredTokens({ folder, prefix: ACCESS_PREFIX, max: ACCESS_TOKENS_MAX, name: 'admin', parse }, now);
  }

  /** The only time the token is seen. */
  create(role: Role, lifeMs: number): Result<AccessToken & { readonly token: string }, string> {
    return this.#tokens.create({ role }, lifeMs);
  }

  list(): readonly AccessToken[] {
    return this.#tokens.list();
  }

  revoke(id: string): boolean {
    return this.#tokens.revoke(id);
  }

  /** Undefined: not a token of ours, or not any more. */
  holder(token: string): AccessToken | undefined {
    return this.#tokens.find(token);
  }
}

const parse = (fields: Readonly<Record<string, unknown>>): { readonly role: Role } | undefined => {
  const { role } = fields as { readonly role?: unknown };
  return role === 'read' || role === 'write' ? { role } : undefined;
};
