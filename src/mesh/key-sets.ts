// The keys that tokens are checked with: where a rule's keys come from, and what is known of them. Fetching is not this room's: the
// known sets are an input of the snapshot.

import type { RequestAuthentication } from '../api/specs.ts';
import { asKeySet } from '../api/values/web-key.ts';

export type JwtRule = NonNullable<RequestAuthentication['jwtRules']>[number];

export interface KeySource {
  /** Equal for rules that share one fetched set. */
  readonly id: string;
  readonly url: string;
  /** `url` answers with a document that names the address of the keys (OpenID Connect discovery). */
  readonly discovery: boolean;
  readonly timeout: string;
}

export interface KeySets {
  /** Key source → JSON web key set. */
  readonly known: ReadonlyMap<string, string>;
  /** Key source → why its keys could not be had the last time, in words without secrets. */
  readonly failed: ReadonlyMap<string, string>;
  /** Key source → which of its keys no proxy can read, and why. Absent: of none. */
  readonly leftOut?: ReadonlyMap<string, string>;
  /** Stands for keys that are not known: nobody has its private half, so it refuses every token. */
  readonly refusing: string;
}

/** For callers that fetch nothing: a set without keys verifies nothing. */
export const NO_KEY_SETS: KeySets = { known: new Map(), failed: new Map(), refusing: '{"keys":[]}' };

const TIMEOUT_DEFAULT = '5s';
const DISCOVERY_PATH = '/.well-known/openid-configuration';

/** Undefined for a rule that brings its keys. */
export const keySourceOf = (rule: JwtRule): KeySource | undefined => {
  if ((rule.jwks ?? '') !== '') return undefined;
  const timeout = rule.timeout ?? TIMEOUT_DEFAULT;
  const uri = rule.jwksUri ?? '';
  if (uri !== '') return { id: `keys ${uri}`, url: uri, discovery: false, timeout };
  const issuer = (rule.issuer ?? '').replace(/\/+$/, '');
  return { id: `issuer ${issuer}`, url: `${issuer}${DISCOVERY_PATH}`, discovery: true, timeout };
};

export const keysOf = (rule: JwtRule, sets: KeySets): string => {
  const source = keySourceOf(rule);
  return source === undefined ? asKeySet(rule.jwks ?? '') : (sets.known.get(source.id) ?? sets.refusing);
};
