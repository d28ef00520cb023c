// Proof by a token of an OpenID Connect issuer, as Kubernetes' and clouds' are: signed by a key that the issuer publishes, for our
// audience, with an end, of a subject `system:serviceaccount:NAMESPACE:NAME`. Keys are fetched when needed, kept for a while, and fetched
// anew, at most every few seconds, for a key id that is not known: so a rotated key is taken at once. No token is ever in a message.
import { err, ok, type Result } from '../../base/result.ts';
import { JWT } from '../../plan/jwt/jwt-status.ts';
import { type KeySet, parseKeySet, verifySignature } from '../../plan/jwt/key-set.ts';
import { parseToken, type Token } from '../../plan/jwt/token.ts';
import type { FetchKeySet } from '../sources/key-set-fetch.ts';
import { type Caller, serviceAccountOf } from './caller.ts';

export interface IssuerSettings {
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Where its keys are; found by discovery when absent. */
  readonly keysUrl: string | undefined;
}

const TOKEN_CHARS_MAX = 16 * 1024;
const KEYS_LIFE_MS = 300_000;
const REFETCH_MS = 10_000;
const FETCH_TIMEOUT = '5s';
/** An issuer's clock may be ahead. Of a token's end nothing is forgiven. */
const SKEW_S = 60;

export class IssuerProof {
  readonly #settings: IssuerSettings;
  readonly #fetch: FetchKeySet;
  readonly #now: () => number;
  #keys: KeySet | undefined;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;
  #problem = '';

  constructor(settings: IssuerSettings, fetch: FetchKeySet, now: () => number) {
    this.#settings = settings;
    this.#fetch = fetch;
    this.#now = now;
  }

  /** The token says that it is this issuer's. Cheap, and believed by nobody. */
  claims(token: string): boolean {
    if (token.length > TOKEN_CHARS_MAX) return false;
    const parsed = parseToken(token);
    return !('code' in parsed) && parsed.iss === this.#settings.issuer;
  }

  async caller(text: string): Promise<Result<Caller, string>> {
    const token = text.length > TOKEN_CHARS_MAX ? JWT.badForm : parseToken(text);
    if ('code' in token) return err(`the token is no JWT: ${token.text}`);
    const account = this.#admit(token);
    if (!account.ok) return account;
    const signed = await this.#signed(token);
    if (!signed.ok) return signed;
    return ok({ ...account.value, name: '', address: '', proof: 'issuer token', expiresAtMs: token.exp * 1000 });
  }

  #admit(token: Token): Result<{ readonly namespace: string; readonly serviceAccount: string }, string> {
    const { issuer, audiences } = this.#settings;
    const nowS = this.#now() / 1000;
    if (token.iss !== issuer) return err('the token is of another issuer');
    // With a key of both sides, whoever can check a token can make one.
    if (token.alg.startsWith('HS')) return err(`the token is signed with ${token.alg}, which proves nothing`);
    if (token.header['crit'] !== undefined) return err('the token has critical headers, and none is known here');
    if (token.exp === 0) return err('the token has no end');
    if (token.exp <= nowS) return err('the token has expired');
    if (token.nbf > nowS + SKEW_S) return err('the token is not valid yet');
    if (!token.audiences.some((a) => audiences.includes(a))) return err(`the token is not for the audience ${audiences.join(' or ')}`);
    const account = serviceAccountOf(token.sub);
    return account ? ok(account) : err('the subject of the token is not system:serviceaccount:NAMESPACE:NAME');
  }

  async #signed(token: Token): Promise<Result<true, string>> {
    const nowMs = this.#now();
    if (nowMs - this.#fetchedAtMs > KEYS_LIFE_MS) await this.#refresh();
    let status = this.#keys ? verifySignature(token, this.#keys) : undefined;
    if (status?.code === JWT.noSuchKey.code || status === undefined) {
      await this.#refresh();
      status = this.#keys ? verifySignature(token, this.#keys) : undefined;
    }
    if (status === undefined) return err(`the keys of the issuer cannot be had: ${this.#problem}`);
    return status.code === JWT.ok.code ? ok(true) : err(`the token is not signed by its issuer: ${status.text}`);
  }

  /** One at a time, and not at every token that somebody makes up. The old keys stay while new ones cannot be had. */
  async #refresh(): Promise<void> {
    if (this.#fetching) return this.#fetching;
    if (this.#now() - this.#triedAtMs < REFETCH_MS) return;
    this.#triedAtMs = this.#now();
    this.#fetching = this.#fetchKeys().finally(() => {
      this.#fetching = undefined;
    });
    await this.#fetching;
  }

  async #fetchKeys(): Promise<void> {
    const { issuer, keysUrl } = this.#settings;
    const url = keysUrl ?? `${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`;
    const fetched = await this.#fetch({ id: `identity ${url}`, url, discovery: keysUrl === undefined, timeout: FETCH_TIMEOUT });
    const keys = fetched.ok ? parseKeySet(fetched.value) : fetched.error;
    if (typeof keys === 'string') this.#problem = keys;
    else if ('code' in keys) this.#problem = keys.text;
    else {
      this.#keys = keys;
      this.#fetchedAtMs = this.#now();
    }
  }
}
