// envoy.filters.http.jwt_authn: tokens of a request are checked against the keys of who issues them; what they say goes into headers
// and metadata, for authorization and routes. A token is never logged.

import { JwtOutcome, type JwtSetting } from '../../plan/jwt/jwt-outcome.ts';
import type { JwtProvider } from '../../plan/jwt/jwt-provider.ts';
import { compileJwtRules, type JwtRules, wrongName } from '../../plan/jwt/jwt-rules.ts';
import { JWT, type JwtStatus } from '../../plan/jwt/jwt-status.ts';
import type { KeySet } from '../../plan/jwt/key-set.ts';
import type { Requirement } from '../../plan/jwt/requirement.ts';
import type { Token } from '../../plan/jwt/token.ts';
import { withoutParameter } from '../../plan/jwt/token-places.ts';
import { FLAG } from '../../plan/response-flag.ts';
import { H } from '../../wire/header-name.ts';
import type { AnyMessage, HttpJwtAuthn_PerRouteConfig, JwtAuthentication } from '../../xds/gen/types.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';
import { type ProviderKeys, providerKeys } from './jwt-keys.ts';
import { KnownTokens } from './jwt-tokens.ts';
import { statPrefix } from './rbac-rules.ts';

const METADATA = 'envoy.filters.http.jwt_authn';
/** So much of the path is told in www-authenticate. */
const REALM_PATH_MAX = 256;

/** Whose keys were asked for for this request, and whether in vain: nobody's twice. */
type Fetched = ReadonlyMap<JwtProvider, boolean>;

interface ProviderState {
  readonly keys: ProviderKeys;
  readonly tokens: KnownTokens;
}

const counters = (env: ProxyEnvironment, context: ListenerContext) => {
  const prefix = statPrefix('http', context.statPrefix, 'jwt_authn');
  const counter = (name: string) => env.stats.counter(prefix + name);
  return {
    allowed: counter('allowed'),
    denied: counter('denied'),
    preflights: counter('cors_preflight_bypassed'),
    hits: counter('jwt_cache_hit'),
    misses: counter('jwt_cache_miss'),
    succeeded: counter('jwks_fetch_success'),
    failed: counter('jwks_fetch_failed'),
  };
};

class JwtFilter implements HttpFilter {
  readonly #env: ProxyEnvironment;
  readonly #rules: JwtRules;
  readonly #states: ReadonlyMap<JwtProvider, ProviderState>;
  readonly #passesPreflights: boolean;
  readonly #saysNothing: boolean;
  readonly #counts: ReturnType<typeof counters>;
  /** Only providers may set them. */
  readonly #headers: readonly string[];
  readonly #setting: JwtSetting;

  constructor(config: JwtAuthentication, env: ProxyEnvironment, context: ListenerContext) {
    this.#env = env;
    this.#counts = counters(env, context);
    this.#rules = compileJwtRules(config);
    this.#passesPreflights = config.bypass_cors_preflight === true;
    this.#saysNothing = config.strip_failure_response === true;
    this.#headers = [...new Set(this.#rules.providers.flatMap((p) => p.headers))];
    const states = new Map<JwtProvider, ProviderState>();
    for (const provider of this.#rules.providers) {
      const keys = providerKeys(provider.config, env, this.#counts, `providers.${provider.name}`);
      states.set(provider, { keys, tokens: new KnownTokens(provider.config.jwt_cache_config?.jwt_cache_size) });
    }
    this.#states = states;
    this.#setting = this.#settingAfter(undefined);
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    if (this.#passesPreflights && isPreflight(exchange)) {
      this.#counts.preflights.value++;
      this.#counts.allowed.value++;
      return undefined;
    }
    const own = perRoute as HttpJwtAuthn_PerRouteConfig | undefined;
    let requirement: Requirement | undefined;
    if (own === undefined) requirement = this.#rules.find(exchange, exchange.info.filterState);
    else if (own.disabled !== true) {
      const name = own.requirement_name ?? '';
      requirement = this.#rules.named.get(name);
      if (requirement === undefined) return this.#misconfigured(wrongName(name, this.#rules.named));
    }
    if (requirement === undefined) {
      this.#counts.allowed.value++;
      return undefined;
    }
    for (const name of this.#headers) exchange.requestHeaders.remove(name);
    return this.#decide(exchange, requirement, undefined);
  }

  close(): void {
    for (const { keys } of this.#states.values()) keys.close();
  }

  #decide(exchange: FilterExchange, requirement: Requirement, fetched: Fetched | undefined): FilterVerdict {
    const outcome = new JwtOutcome(exchange, fetched === undefined ? this.#setting : this.#settingAfter(fetched));
    const status = requirement(outcome);
    const awaited = outcome.awaits;
    if (awaited !== undefined) return this.#fetch(exchange, requirement, awaited, fetched);
    if (outcome.metadata !== undefined) {
      const metadata = exchange.info.dynamicMetadata;
      metadata[METADATA] = { ...metadata[METADATA], ...outcome.metadata };
    }
    if (status !== JWT.ok) return this.#deny(exchange, status);
    this.#counts.allowed.value++;
    for (const [name, value] of outcome.headers) if (UNFIT.test(value)) return untold(name);
    apply(exchange, outcome);
    return undefined;
  }

  #fetch(exchange: FilterExchange, requirement: Requirement, provider: JwtProvider, before: Fetched | undefined): FilterVerdict {
    const state = this.#states.get(provider);
    if (state === undefined) return this.#deny(exchange, JWT.fetchFailed);
    const task: FilterTask = state.keys.fetch((failed) => {
      exchange.proceed(task, this.#decide(exchange, requirement, new Map(before).set(provider, failed)));
    });
    return { kind: 'wait', task };
  }

  #deny(exchange: FilterExchange, status: JwtStatus): FilterVerdict {
    this.#counts.denied.value++;
    const details = `jwt_authn_access_denied{${status.text.replace(/\s/g, '_')}}`;
    const code = status === JWT.audience ? 403 : 401;
    if (this.#saysNothing) return { kind: 'reply', status: code, body: '', details, headers: [] };
    const path = exchange.requestHeaders.get('x-envoy-original-path') ?? exchange.path;
    const realm = `Bearer realm="${exchange.scheme}://${exchange.authority}${path.slice(0, REALM_PATH_MAX)}"`;
    const challenge = status === JWT.missing ? realm : `${realm}, error="invalid_token"`;
    return { kind: 'reply', status: code, body: status.text, details, headers: [['www-authenticate', challenge]] };
  }

  #misconfigured(problem: string): FilterVerdict {
    this.#counts.denied.value++;
    const details = `jwt_authn_access_denied{${problem.replace(/\s/g, '_')}}`;
    return { kind: 'reply', status: 403, body: this.#saysNothing ? '' : `Failed JWT authentication: ${problem}`, details, headers: [] };
  }

  #settingAfter(fetched: Fetched | undefined): JwtSetting {
    const keysOf = (provider: JwtProvider): KeySet | JwtStatus | undefined => {
      const held = this.#states.get(provider)?.keys;
      const failed = fetched?.get(provider);
      if (failed === true) return held?.current() ?? JWT.fetchFailed;
      return failed === false ? (held?.latest() ?? JWT.fetchFailed) : held?.current();
    };
    const clock = this.#env.clock;
    return {
      get nowS() {
        return Math.floor(clock.wallMs() / 1000);
      },
      keys: keysOf,
      known: (text, provider): Token | undefined => {
        const keys = keysOf(provider);
        const known = keys === undefined || 'code' in keys ? undefined : this.#states.get(provider)?.tokens.get(text, keys);
        (known === undefined ? this.#counts.misses : this.#counts.hits).value++;
        return known;
      },
      remember: (text, provider, token) => {
        const keys = keysOf(provider);
        if (keys !== undefined && !('code' in keys)) this.#states.get(provider)?.tokens.add(text, token, keys);
      },
    };
  }
}

// What no header's value may have, as Envoy refuses it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are meant
const UNFIT = /[\x00-\x08\x0a-\x1f\x7f]/;
const untold = (name: string): FilterVerdict => ({
  kind: 'reply',
  status: 503,
  body: `invalid header value for: ${name}`,
  details: `filter_removed_required_request_headers{invalid_header_value_for:_${name}}`,
  headers: [],
  flag: FLAG.DPE,
});

const isPreflight = ({ method, requestHeaders: headers }: FilterExchange): boolean =>
  method === 'OPTIONS' && (headers.getById(H.ORIGIN) ?? '') !== '' && (headers.get('access-control-request-method') ?? '') !== '';

const apply = (exchange: FilterExchange, { headers, takenOut, clearsRoute }: JwtOutcome): void => {
  for (const { kind, name } of takenOut) {
    if (kind === 'header') exchange.requestHeaders.remove(name);
    else if (kind === 'param') {
      exchange.path = withoutParameter(exchange.path, name);
      exchange.info.path = exchange.path;
    }
  }
  for (const [name, value] of headers) exchange.requestHeaders.add(name, value);
  if (clearsRoute) exchange.clearRoute();
};

export const jwtFilter: HttpFilterFactory = {
  compile: (typed: AnyMessage | undefined, context: ListenerContext, { env }): HttpFilter =>
    new JwtFilter(configAs<JwtAuthentication>(typed, ''), env, context),
  compilePerRoute: (typed: AnyMessage, _env: ProxyEnvironment): HttpJwtAuthn_PerRouteConfig =>
    typed as unknown as HttpJwtAuthn_PerRouteConfig,
};
