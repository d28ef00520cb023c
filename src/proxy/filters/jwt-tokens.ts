// Tokens whose signature was found good, by their text: checking it again costs a thousand times what looking it up does. Bounded in
// number and in size; a token is forgotten with the keys that it was checked against. Times and audiences are never remembered.

import type { KeySet } from '../../plan/jwt/key-set.ts';
import type { Token } from '../../plan/jwt/token.ts';

/** Longer tokens are not kept. */
const TOKEN_BYTES_MAX = 4096;
const DEFAULT_TOKENS = 100;

export class KnownTokens {
  readonly #most: number;
  #keys: KeySet | undefined;
  // Two generations: who is asked for again moves on, the rest goes with the older one.
  #young = new Map<string, Token>();
  #old = new Map<string, Token>();

  /** 0 or undefined: as many as Envoy would keep. */
  constructor(tokens: number | undefined) {
    this.#most = Math.ceil((tokens === undefined || tokens === 0 ? DEFAULT_TOKENS : tokens) / 2);
  }

  get(text: string, keys: KeySet): Token | undefined {
    if (keys !== this.#keys) return undefined;
    const known = this.#young.get(text);
    if (known !== undefined) return known;
    const old = this.#old.get(text);
    if (old !== undefined) this.#put(text, old);
    return old;
  }

  add(text: string, token: Token, keys: KeySet): void {
    if (keys !== this.#keys) {
      this.#young = new Map();
      this.#old = new Map();
      this.#keys = keys;
    }
    if (text.length <= TOKEN_BYTES_MAX) this.#put(text, token);
  }

  #put(text: string, token: Token): void {
    if (this.#young.size >= this.#most) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(text, token);
  }
}
