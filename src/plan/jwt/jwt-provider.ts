// envoy.extensions.filters.http.jwt_authn.v3.JwtProvider: whom a token must come from, whom it must be for, and what is told of it.
import type { JsonObject, JwtProvider as JwtProviderConfig } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { PlanError } from '../plan-error.ts';
import { compileStringMatcher } from '../string-matcher.ts';
import { normalizedClaims } from './claim-text.ts';
import { JWT, type JwtStatus } from './jwt-status.ts';
import type { Token } from './token.ts';

const DEFAULT_SKEW_S = 60;

export interface JwtProvider {
  readonly name: string;
  readonly config: JwtProviderConfig;
  readonly issuer: string;
  /** Names of headers that only this provider may set. */
  readonly headers: readonly string[];
  readonly claimHeaders: readonly { readonly header: string; readonly claim: readonly string[] }[];
  readonly payloadHeader: string;
  readonly padsPayload: boolean;
  /** Whether the token may go on to the upstream. */
  readonly forwards: boolean;
  readonly clearsRoute: boolean;
  /** Keys of metadata; '' none. */
  readonly payloadKey: string;
  readonly headerKey: string;
  readonly failureKey: string;
  /** The payload as metadata has it. */
  readonly told: (payload: JsonObject) => JsonObject;
  /** JWT.ok, or why a token of its issuer does not do now. `audiences`: instead of its own. */
  readonly check: (token: Token, nowS: number, audiences: ReadonlySet<string> | undefined) => JwtStatus;
}

export const compileProvider = (name: string, config: JwtProviderConfig, path: string): JwtProvider => {
  if (config.local_jwks === undefined && config.remote_jwks === undefined) throw new PlanError(path, 'says nothing of its keys');
  const claimHeaders = (config.claim_to_headers ?? []).map((c, i) => {
    if ((c.header_name ?? '') === '' || (c.claim_name ?? '') === '')
      throw new PlanError(`${path}.claim_to_headers[${i}]`, 'needs a header and a claim');
    return { header: toldIn(c.header_name ?? '', `${path}.claim_to_headers[${i}].header_name`), claim: (c.claim_name ?? '').split('.') };
  });
  const payloadHeader = toldIn(config.forward_payload_header ?? '', `${path}.forward_payload_header`);
  const split = config.normalize_payload_in_metadata?.space_delimited_claims ?? [];
  return {
    name,
    config,
    issuer: config.issuer ?? '',
    headers: [...(payloadHeader === '' ? [] : [payloadHeader]), ...claimHeaders.map((c) => c.header)],
    claimHeaders,
    payloadHeader,
    padsPayload: config.pad_forward_payload_header === true,
    forwards: config.forward === true,
    clearsRoute: config.clear_route_cache === true,
    payloadKey: config.payload_in_metadata ?? '',
    headerKey: config.header_in_metadata ?? '',
    failureKey: config.failed_status_in_metadata ?? '',
    told: compileTold(split),
    check: compileCheck(config, path),
  };
};

// Lower case. What a claim says must never become the request's own line, nor where its body ends.
const toldIn = (name: string, path: string): string => {
  const lower = name.toLowerCase();
  if (lower !== '' && (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower) || FRAMING.has(lower)))
    throw new PlanError(path, 'is no header that may be set from a token');
  return lower;
};
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'host']);

// Tokens that are remembered are told the same each time.
const compileTold = (split: readonly string[]): JwtProvider['told'] => {
  if (split.length === 0) return (payload) => payload;
  const known = new WeakMap<JsonObject, JsonObject>();
  return (payload) => {
    let told = known.get(payload);
    if (told === undefined) {
      told = normalizedClaims(payload, split);
      known.set(payload, told);
    }
    return told;
  };
};

const compileCheck = (config: JwtProviderConfig, path: string): JwtProvider['check'] => {
  const skew = (config.clock_skew_seconds ?? 0) > 0 ? (config.clock_skew_seconds ?? 0) : DEFAULT_SKEW_S;
  const own = audienceSet(config.audiences);
  const subject = config.subjects === undefined ? undefined : compileStringMatcher(config.subjects, `${path}.subjects`);
  // Of what remains of a token's life; more is asked for too long.
  const longest = config.max_lifetime !== undefined ? durationMs(config.max_lifetime) / 1000 : Infinity;
  const mustExpire = config.require_expiration === true || config.max_lifetime !== undefined;
  return ({ sub, nbf, exp, audiences }, nowS, instead) => {
    if (subject !== undefined && !subject(sub)) return JWT.unverified;
    if (mustExpire && (exp === 0 || exp - nowS >= longest)) return JWT.unverified;
    if (nowS + skew < nbf) return JWT.notYetValid;
    if (exp > 0 && nowS > exp + skew) return JWT.expired;
    const wanted = instead ?? own;
    return wanted === undefined || audiences.some((a) => wanted.has(bareAudience(a))) ? JWT.ok : JWT.audience;
  };
};

/** undefined: any. */
export const audienceSet = (audiences: readonly string[] | undefined): ReadonlySet<string> | undefined =>
  audiences === undefined || audiences.length === 0 ? undefined : new Set(audiences.map(bareAudience));

// A scheme and a slash at the end make no other audience.
const bareAudience = (audience: string): string => audience.replace(/^https?:\/\//, '').replace(/\/$/, '');
