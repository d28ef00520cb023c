// Tokens of ours as texts: `<prefix><id>_<secret>`. The id finds what is kept of it; the secret is random, shown once, and kept as a hash
// that is compared in constant time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

export interface MintedSecret {
  readonly id: string;
  readonly token: string;
  /** Hexadecimal. */
  readonly hash: string;
}

const PARTS = /^([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;
export const ID = /^[0-9a-f]{12}$/;
export const HASH = /^[0-9a-f]{64}$/;

const hashOf = (secret: string): Buffer => createHash('sha256').update(secret).digest();
const NOBODYS = hashOf('');

export const mintSecret = (prefix: string): MintedSecret => {
  const id = randomBytes(6).toString('hex');
  const secret = randomBytes(32).toString('base64url');
  return { id, token: `${prefix}${id}_${secret}`, hash: hashOf(secret).toString('hex') };
};

/** The one that the text is the token of; it takes as long for who has an id right as for who has not. */
export const findSecret = <T extends { readonly hash: string }>(
  prefix: string,
  text: string,
  byId: ReadonlyMap<string, T>,
): T | undefined => {
  const [, id = '', secret = ''] = (text.startsWith(prefix) && PARTS.exec(text.slice(prefix.length))) || [];
  const stored = byId.get(id);
  const same = timingSafeEqual(hashOf(secret), stored ? Buffer.from(stored.hash, 'hex') : NOBODYS);
  return stored && same ? stored : undefined;
};
