// envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement: which tokens a request must bring. All tokens in the places of a provider
// must be good: an upstream might read the other one.
import type { JwtRequirement } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import type { JwtOutcome } from './jwt-outcome.ts';
import { audienceSet, type JwtProvider } from './jwt-provider.ts';
import { JWT, type JwtStatus } from './jwt-status.ts';
import { verifySignature } from './key-set.ts';
import { parseToken, type Token } from './token.ts';
import { compilePlaces, type FoundToken, findTokens, type TokenPlace } from './token-places.ts';

/** JWT.ok, or what is wrong; undecided while `outcome.awaits` is set. */
export type Requirement = (outcome: JwtOutcome) => JwtStatus;

export interface JwtProviders {
  readonly byName: ReadonlyMap<string, JwtProvider>;
  /** The first of an issuer; '' of any. */
  readonly byIssuer: ReadonlyMap<string, JwtProvider>;
  readonly only: JwtProvider | undefined;
}

export const compileRequirement = (config: JwtRequirement, providers: JwtProviders, path: string): Requirement => {
  if (config.requires_any !== undefined) return anyOf(config.requires_any.requirements ?? [], providers, `${path}.requires_any`);
  if (config.requires_all !== undefined) return allOf(config.requires_all.requirements ?? [], providers, `${path}.requires_all`);
  if (config.allow_missing_or_failed !== undefined) return fromAnybody(providers, true, path);
  if (config.allow_missing !== undefined) return fromAnybody(providers, false, path);
  if (config.extract_only_without_validation !== undefined)
    throw new PlanError(`${path}.extract_only_without_validation`, 'is not supported');
  const named = config.provider_and_audiences ?? { provider_name: config.provider_name };
  const { provider_name: name, audiences } = named as { readonly provider_name?: string; readonly audiences?: readonly string[] };
  if (name === undefined) return () => JWT.ok;
  const provider = providers.byName.get(name);
  if (provider === undefined) throw new PlanError(path, `provider ${name} is not configured`);
  return fromProvider(provider, audienceSet(audiences), providers, path);
};

const fromProvider = (
  provider: JwtProvider,
  audiences: ReadonlySet<string> | undefined,
  providers: JwtProviders,
  path: string,
): Requirement => {
  const places = compilePlaces([provider.config], path);
  return (outcome) => {
    outcome.sanitize(provider);
    const found = findTokens(places, outcome.request, outcome.takenOut);
    if (found.length === 0) {
      outcome.refuse(providers.only, JWT.missing);
      return JWT.missing;
    }
    for (let i = found.length - 1; i >= 0; i--) {
      const status = believe(outcome, found[i] as FoundToken, provider, provider, audiences);
      if (status !== JWT.ok) return status;
    }
    return JWT.ok;
  };
};

const fromAnybody = (providers: JwtProviders, orFailed: boolean, path: string): Requirement => {
  const all = [...providers.byName.values()];
  const places: readonly TokenPlace[] = compilePlaces(
    all.map((p) => p.config),
    path,
  );
  return (outcome) => {
    for (const provider of all) outcome.sanitize(provider);
    const found = findTokens(places, outcome.request, outcome.takenOut);
    if (found.length === 0) outcome.refuse(providers.only, JWT.missing);
    let last: JwtStatus = JWT.ok;
    for (let i = found.length - 1; i >= 0 && outcome.awaits === undefined; i--) {
      const status = believe(outcome, found[i] as FoundToken, undefined, providers, undefined);
      // One that is bad must not hide behind one that is good.
      if (status !== JWT.ok && last === JWT.ok) last = status;
    }
    return orFailed ? JWT.ok : last;
  };
};

/** `who` is the provider, or the providers of which its issuer names one. */
const believe = (
  outcome: JwtOutcome,
  found: FoundToken,
  named: JwtProvider | undefined,
  who: JwtProvider | JwtProviders,
  audiences: ReadonlySet<string> | undefined,
): JwtStatus => {
  const { setting } = outcome;
  let provider = named;
  let token = provider === undefined ? undefined : setting.known(found.text, provider);
  const wasKnown = token !== undefined;
  if (token === undefined) {
    const read = parseToken(found.text);
    if ('code' in read) return refused(outcome, provider, who, read);
    token = read;
  }
  const { issuers } = found.place;
  if (issuers.size > 0 && !issuers.has(token.iss)) return refused(outcome, provider, who, JWT.unknownIssuer);
  if (provider === undefined && 'byIssuer' in who) provider = who.byIssuer.get(token.iss) ?? who.byIssuer.get('');
  if (provider === undefined) return refused(outcome, provider, who, JWT.unknownIssuer);
  const checked = provider.check(token, setting.nowS, audiences);
  if (checked !== JWT.ok) return refused(outcome, provider, who, checked);
  const signed = wasKnown ? JWT.ok : verified(outcome, token, provider);
  if (signed !== JWT.ok) return refused(outcome, provider, who, signed);
  if (!wasKnown) setting.remember(found.text, provider, token);
  outcome.accept(provider, token, found);
  return JWT.ok;
};

const verified = (outcome: JwtOutcome, token: Token, provider: JwtProvider): JwtStatus => {
  const keys = outcome.setting.keys(provider);
  if (keys === undefined) {
    outcome.awaits = provider;
    return JWT.fetchFailed;
  }
  return 'code' in keys ? keys : verifySignature(token, keys);
};

const refused = (outcome: JwtOutcome, provider: JwtProvider | undefined, who: JwtProvider | JwtProviders, status: JwtStatus): JwtStatus => {
  outcome.refuse(provider ?? ('only' in who ? who.only : who), status);
  return status;
};

const anyOf = (configs: readonly JwtRequirement[], providers: JwtProviders, path: string): Requirement => {
  const orFailed = configs.some((c) => c.allow_missing_or_failed !== undefined);
  const orMissing = configs.some((c) => c.allow_missing !== undefined);
  const named = configs.filter((c) => c.allow_missing_or_failed === undefined && c.allow_missing === undefined);
  if (named.length === 0 && (orFailed || orMissing)) return fromAnybody(providers, orFailed, path);
  const each = compileEach(named, providers, path);
  return (outcome) => {
    let worst: JwtStatus = JWT.missing;
    for (const requirement of each) {
      const status = requirement(outcome);
      if (outcome.awaits !== undefined || status === JWT.ok) return status;
      // That a token is bad says more than that it is somebody else's, and this more than that there is none.
      if ((status !== JWT.missing && status !== JWT.unknownIssuer) || worst === JWT.missing) worst = status;
    }
    return orFailed || (orMissing && worst === JWT.missing) ? JWT.ok : worst;
  };
};

const allOf = (configs: readonly JwtRequirement[], providers: JwtProviders, path: string): Requirement => {
  const each = compileEach(configs, providers, path);
  return (outcome) => {
    for (const requirement of each) {
      const status = requirement(outcome);
      if (outcome.awaits !== undefined || status !== JWT.ok) return status;
    }
    return JWT.ok;
  };
};

const compileEach = (configs: readonly JwtRequirement[], providers: JwtProviders, path: string): readonly Requirement[] => {
  if (configs.length < 1) throw new PlanError(`${path}.requirements`, 'must not be empty');
  return configs.map((c, i) => compileRequirement(c, providers, `${path}.requirements[${i}]`));
};
