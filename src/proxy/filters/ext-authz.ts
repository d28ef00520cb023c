// envoy.filters.http.ext_authz: every request is put to an authorization server, which lets it pass, perhaps changed, or answers it.
// The server unheard, unreachable or unintelligible is an error: the request is refused unless failure_mode_allow says otherwise.

import { compileFraction } from '../../plan/fraction.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { FLAG } from '../../plan/response-flag.ts';
import type { TextMatch } from '../../plan/string-matcher.ts';
import { compileMetadataMatcher } from '../../plan/value-matcher.ts';
import type {
  BufferSettings,
  ExtAuthzPerRoute,
  GrpcService,
  HttpExtAuthz_ExtAuthz,
  HttpExtAuthz_HttpService,
  JsonObject,
} from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import {
  applyToRequest,
  applyToResponse,
  areValid,
  areValidHeaders,
  badName,
  changesRequest,
  changesResponse,
  isOfAnybody,
} from './ext-authz-apply.ts';
import { type HttpCheckPlan, httpAttributes } from './ext-authz-check.ts';
import { type AuthzDecision, type Mutations, statusOf } from './ext-authz-decision.ts';
import { type AskAuthz, askOverGrpc, askOverHttp, nameMatch } from './ext-authz-server.ts';
import { AuthzStats } from './ext-authz-stats.ts';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter, HttpFilterFactory, RequestBody } from './http-filter.ts';

const NAMESPACE = 'envoy.filters.http.ext_authz';

interface BodyPlan {
  readonly bytesMax: number;
  readonly allowPartial: boolean;
  readonly asBytes: boolean;
}

/** What a route says. */
interface RoutePlan {
  readonly disabled: boolean;
  readonly extensions: Readonly<Record<string, string>>;
  readonly bodyDisabled: boolean;
  readonly body: BodyPlan | undefined;
  readonly ask: AskAuthz | undefined;
}

interface Plan extends HttpCheckPlan {
  readonly ask: AskAuthz;
  readonly body: BodyPlan | undefined;
  readonly failOpen: boolean;
  readonly failOpenHeader: boolean;
  readonly errorStatus: number;
  readonly clearRoute: boolean;
  readonly enabled: ((exchange: FilterExchange) => boolean) | undefined;
  readonly denyAtDisable: boolean;
  readonly validates: boolean;
  readonly takesMetadata: boolean;
  readonly chargesCluster: boolean;
}

class ExtAuthz implements HttpFilter {
  readonly #plan: Plan;
  readonly #env: ProxyEnvironment;
  readonly #stats: AuthzStats;

  constructor(plan: Plan, env: ProxyEnvironment, stats: AuthzStats) {
    this.#plan = plan;
    this.#env = env;
    this.#stats = stats;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const own = perRoute as RoutePlan | undefined;
    // As Envoy: what goes nowhere needs no leave.
    if (exchange.route === undefined || own?.disabled === true) return undefined;
    const plan = this.#plan;
    if (plan.enabled?.(exchange) === false) {
      this.#stats.disabled();
      return plan.denyAtDisable ? this.#refused() : undefined;
    }
    const body = bodyPlan(plan, own);
    if (body === undefined || exchange.requestEnded || exchange.upgrade !== '') return this.#ask(exchange, own, undefined);
    return { kind: 'body', most: body.allowPartial ? body.bytesMax - 1 : body.bytesMax };
  }

  onBody(exchange: FilterExchange, body: RequestBody, perRoute: unknown): FilterVerdict {
    const own = perRoute as RoutePlan | undefined;
    const wanted = bodyPlan(this.#plan, own);
    if (!body.whole && wanted?.allowPartial !== true) return PAYLOAD_TOO_LARGE;
    return this.#ask(exchange, own, body);
  }

  onResponse(exchange: FilterExchange, headers: Parameters<typeof applyToResponse>[1]): void {
    const mutations = exchange.noteOf(this) as Mutations | undefined;
    if (mutations !== undefined) applyToResponse(mutations, headers);
  }

  #ask(exchange: FilterExchange, own: RoutePlan | undefined, body: RequestBody | undefined): FilterVerdict {
    const plan = this.#plan;
    const wanted = bodyPlan(plan, own);
    const asked = body === undefined || wanted === undefined ? undefined : { body, bytesMax: wanted.bytesMax, asBytes: wanted.asBytes };
    const attributes = httpAttributes(plan, exchange, own?.extensions ?? {}, asked);
    const startMs = this.#env.wheel.now();
    const task: FilterTask = (own?.ask ?? plan.ask)(attributes, exchange, (decision) =>
      exchange.proceed(task, this.#verdict(exchange, decision, startMs)),
    );
    return { kind: 'wait', task };
  }

  #verdict(exchange: FilterExchange, decision: AuthzDecision, startMs: number): FilterVerdict {
    if (decision.kind === 'error') return this.#failed(exchange, decision.why);
    this.#tell(exchange, decision.metadata, startMs, decision.kind === 'allowed');
    if (decision.kind === 'denied') {
      if (this.#plan.validates && !areValidHeaders(decision.headers)) return this.#invalid(exchange);
      this.#stats.count(exchange, 'denied');
      if (this.#plan.chargesCluster) this.#stats.charge(exchange, decision.status);
      return { ...DENIED, status: decision.status, body: decision.body, headers: decision.headers.filter(isSendable) };
    }
    const { mutations } = decision;
    if (this.#plan.validates && !areValid(mutations)) return this.#invalid(exchange);
    this.#stats.count(exchange, 'ok');
    const bad = badName([...mutations.set, ...mutations.add]);
    if (bad !== undefined) return unsendable(bad);
    if (changesRequest(mutations)) {
      applyToRequest(mutations, exchange);
      if (this.#plan.clearRoute) exchange.clearRoute();
    }
    if (changesResponse(mutations)) exchange.note(this, mutations);
    return undefined;
  }

  #failed(exchange: FilterExchange, why: string): FilterVerdict {
    const plan = this.#plan;
    this.#env.log.debug('external authorization failed', { why });
    this.#stats.count(exchange, 'error');
    if (!plan.failOpen) return this.#refused();
    this.#stats.count(exchange, 'failure_mode_allowed');
    if (plan.failOpenHeader) exchange.requestHeaders.add('x-envoy-auth-failure-mode-allowed', 'true');
    return undefined;
  }

  #refused(): FilterVerdict {
    return { kind: 'reply', status: this.#plan.errorStatus, body: '', details: 'ext_authz_error', headers: [], flag: FLAG.UAEX };
  }

  #invalid(exchange: FilterExchange): FilterVerdict {
    this.#stats.count(exchange, 'invalid');
    return INVALID;
  }

  #tell(exchange: FilterExchange, metadata: JsonObject | undefined, startMs: number, timed: boolean): void {
    if (metadata === undefined || Object.keys(metadata).length === 0) return;
    if (!this.#plan.takesMetadata) {
      this.#stats.ignoredMetadata();
      return;
    }
    const { dynamicMetadata } = exchange.info;
    const took = timed ? { ext_authz_duration: Math.floor(this.#env.wheel.now() - startMs) } : {};
    dynamicMetadata[NAMESPACE] = { ...dynamicMetadata[NAMESPACE], ...metadata, ...took };
  }
}

const DENIED = { kind: 'reply', details: 'ext_authz_denied', flag: FLAG.UAEX } as const;
const INVALID: FilterVerdict = { kind: 'reply', status: 500, body: '', details: 'ext_authz_invalid', headers: [], flag: FLAG.UAEX };
const PAYLOAD_TOO_LARGE: FilterVerdict = {
  kind: 'reply',
  status: 413,
  body: 'Payload Too Large',
  details: 'request_payload_too_large',
  headers: [],
};
/** Envoy's answer to a request that its codec cannot write. */
const unsendable = (name: string): FilterVerdict => ({
  kind: 'reply',
  status: 503,
  body: `invalid header name: ${name}`,
  details: `filter_removed_required_request_headers{invalid_header_name:_${name.replaceAll(' ', '_')}}`,
  headers: [],
  flag: FLAG.DPE,
});

const isSendable = (pair: readonly [string, string]): boolean => isOfAnybody(pair[0]) && badName([pair]) === undefined;

const bodyPlan = (plan: Plan, own: RoutePlan | undefined): BodyPlan | undefined =>
  own?.bodyDisabled === true ? undefined : (own?.body ?? plan.body);

// --- configuration ---

export const extAuthzFilter: HttpFilterFactory = {
  compile: (typed, context, { env }) => {
    const config = configAs<HttpExtAuthz_ExtAuthz>(typed, 'typed_config');
    const plan = compilePlan(config, env);
    return new ExtAuthz(plan, env, new AuthzStats(env, context.statPrefix, config.stat_prefix ?? ''));
  },
  compilePerRoute: (typed, env, _place, above) => compileRoute(configAs<ExtAuthzPerRoute>(typed, ''), env, above as RoutePlan | undefined),
};

const compilePlan = (config: HttpExtAuthz_ExtAuthz, env: ProxyEnvironment): Plan => {
  const ask = compileAsk(config.grpc_service, config.http_service, env, '');
  if (ask === undefined) throw new PlanError('services', 'one of grpc_service, http_service is required');
  if ((config.bootstrap_metadata_labels_key ?? '') !== '') throw new PlanError('bootstrap_metadata_labels_key', 'is not supported');
  if (config.decoder_header_mutation_rules !== undefined) throw new PlanError('decoder_header_mutation_rules', 'is not supported');
  // Typed metadata is nothing this proxy has: typed_metadata_context_namespaces and route_typed_metadata_context_namespaces find none.
  return {
    ask,
    ...headerPlan(config),
    includeCertificate: config.include_peer_certificate === true,
    includeTlsSession: config.include_tls_session === true,
    rawHeaders: config.encode_raw_headers === true && config.http_service === undefined,
    metadataNamespaces: config.metadata_context_namespaces ?? [],
    routeMetadataNamespaces: config.route_metadata_context_namespaces ?? [],
    body: compileBody(config.with_request_body, 'with_request_body'),
    failOpen: config.failure_mode_allow === true,
    failOpenHeader: config.failure_mode_allow_header_add === true,
    errorStatus: statusOf(config.status_on_error?.code),
    clearRoute: config.clear_route_cache === true,
    enabled: compileEnabled(config),
    denyAtDisable: config.deny_at_disable?.default_value === true,
    validates: config.validate_mutations === true,
    takesMetadata: config.enable_dynamic_metadata_ingestion !== false,
    chargesCluster: config.charge_cluster_response_stats !== false,
  };
};

const TOLD_OVER_HTTP: ReadonlySet<string> = new Set([':authority', ':method', ':path', 'authorization']);

/** Which headers the server is told. Over HTTP it is told little unless more is asked for. */
const headerPlan = (config: HttpExtAuthz_ExtAuthz): { allowedHeaders: TextMatch | undefined; disallowedHeaders: TextMatch | undefined } => {
  const disallowedHeaders = nameMatch(config.disallowed_headers, 'disallowed_headers');
  const old = config.http_service?.authorization_request?.allowed_headers;
  if (config.http_service === undefined) return { allowedHeaders: nameMatch(config.allowed_headers, 'allowed_headers'), disallowedHeaders };
  const listed =
    config.allowed_headers !== undefined
      ? nameMatch(config.allowed_headers, 'allowed_headers')
      : nameMatch(old, 'http_service.authorization_request.allowed_headers');
  return { allowedHeaders: (name) => TOLD_OVER_HTTP.has(name) || listed?.(name) === true, disallowedHeaders };
};

const compileEnabled = (config: HttpExtAuthz_ExtAuthz): Plan['enabled'] => {
  const fraction = config.filter_enabled === undefined ? undefined : compileFraction(config.filter_enabled, 'filter_enabled');
  const metadata =
    config.filter_enabled_metadata === undefined
      ? undefined
      : compileMetadataMatcher(config.filter_enabled_metadata, 'filter_enabled_metadata');
  if (fraction === undefined && metadata === undefined) return undefined;
  return (exchange) => (fraction?.(exchange.random(), undefined) ?? true) && (metadata?.(exchange.info.dynamicMetadata) ?? true);
};

const compileBody = (config: BufferSettings | undefined, path: string): BodyPlan | undefined => {
  if (config === undefined) return undefined;
  const bytesMax = config.max_request_bytes ?? 0;
  if (bytesMax <= 0) throw new PlanError(`${path}.max_request_bytes`, 'must be greater than 0');
  return { bytesMax, allowPartial: config.allow_partial_message === true, asBytes: config.pack_as_bytes === true };
};

const compileAsk = (
  grpc: GrpcService | undefined,
  http: HttpExtAuthz_HttpService | undefined,
  env: ProxyEnvironment,
  path: string,
): AskAuthz | undefined => {
  if (grpc !== undefined) return askOverGrpc(grpc, env, `${path}grpc_service`);
  return http === undefined ? undefined : askOverHttp(http, env, `${path}http_service`);
};

/** As Envoy: the extensions of all levels are told, the most specific last. All else is of one level. */
const compileRoute = (config: ExtAuthzPerRoute, env: ProxyEnvironment, above: RoutePlan | undefined): RoutePlan => {
  const settings = config.check_settings;
  if (settings === undefined && config.disabled !== true) throw new PlanError('disabled', 'must be true, or check_settings be given');
  if (settings?.disable_request_body_buffering === true && settings.with_request_body !== undefined)
    throw new PlanError('check_settings.with_request_body', 'cannot stand beside disable_request_body_buffering');
  return {
    disabled: config.disabled === true,
    extensions: { ...above?.extensions, ...settings?.context_extensions },
    bodyDisabled: settings?.disable_request_body_buffering === true,
    body: compileBody(settings?.with_request_body, 'check_settings.with_request_body'),
    ask: compileAsk(settings?.grpc_service, settings?.http_service, env, 'check_settings.'),
  };
};
