// The authorization server as a filter asks it: one question, one decision, over gRPC or over HTTP. An answer that cannot be had or
// read is a decision too: 'error'.

import { applyHeaderOps, compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { compileStringMatcher, type TextMatch } from '../../plan/string-matcher.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import { STATUS_REASONS } from '../../wire/http1-writer.ts';
import { CodecError, decode, encode } from '../../xds/codec.ts';
import type {
  AttributeContext,
  CheckResponse,
  GrpcService,
  HttpExtAuthz_HttpService,
  Matcher_ListStringMatcher,
} from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { compileGrpcService, grpcSpanName, grpcUnary } from '../grpc-side-call.ts';
import { BUFFER_BYTES } from '../limits.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { sideCall } from '../side-call.ts';
import type { CallTrace } from '../tracing/call-trace.ts';
import { type AnswerRules, type AuthzDecision, decisionOfAnswer, decisionOfCheck } from './ext-authz-decision.ts';
import type { FilterExchange, FilterTask } from './http-filter.ts';

/** `done`: once, later, unless the task was cancelled. */
export type CheckCall = (
  attributes: AttributeContext,
  done: (response: CheckResponse | string) => void,
  trace?: CallTrace | undefined,
) => FilterTask;
export type AskAuthz = (attributes: AttributeContext, exchange: FilterExchange, done: (decision: AuthzDecision) => void) => FilterTask;

const CHECK = '/envoy.service.auth.v3.Authorization/Check';
/** Envoy's, where a service names none. */
const TIMEOUT_MS = 200;
const ANSWER_BYTES_MAX = BUFFER_BYTES;

/** `done` gets the answer, or why there is none. */
export const compileCheckCall = (config: GrpcService | undefined, env: ProxyEnvironment, path: string): CheckCall => {
  const service = compileGrpcService(config, path);
  const timeoutMs = service.timeoutMs ?? TIMEOUT_MS;
  const call = {
    cluster: service.cluster,
    authority: service.authority,
    path: CHECK,
    metadata: service.metadata,
    bare: service.bare,
    timeoutMs,
    answerBytesMax: ANSWER_BYTES_MAX,
  };
  return (attributes, done, trace) =>
    grpcUnary(env, { ...call, message: encode('envoy.service.auth.v3.CheckRequest', { attributes }), trace }, (outcome) => {
      if (outcome.kind === 'status') {
        done(`gRPC status ${outcome.code}: ${outcome.message}`);
        return;
      }
      let response: CheckResponse | string;
      try {
        response = decode('envoy.service.auth.v3.CheckResponse', outcome.bytes);
      } catch (problem) {
        if (!(problem instanceof CodecError)) throw problem;
        response = problem.message;
      }
      done(response);
    });
};

export const askOverGrpc = (config: GrpcService | undefined, env: ProxyEnvironment, path: string): AskAuthz => {
  const call = compileCheckCall(config, env, path);
  return (attributes, exchange, done) => {
    const trace = exchange.trace?.call(CHECK_SPAN);
    const heard = (response: CheckResponse | string): void => {
      const decision: AuthzDecision = typeof response === 'string' ? { kind: 'error', why: response } : decisionOfCheck(response);
      if (trace !== undefined) tellDecision(trace, decision);
      done(decision);
    };
    return call(attributes, heard, trace);
  };
};

const CHECK_SPAN = grpcSpanName(CHECK);

const tellDecision = (trace: CallTrace, { kind }: AuthzDecision): void => {
  if (kind !== 'error') trace.tag('ext_authz_status', kind === 'allowed' ? 'ext_authz_ok' : 'ext_authz_unauthorized');
};

interface HttpPlan {
  readonly cluster: string;
  readonly timeoutMs: number;
  readonly pathOf: (path: string) => string;
  readonly headersToAdd: HeaderOps | undefined;
  readonly rules: AnswerRules;
}

export const askOverHttp = (config: HttpExtAuthz_HttpService, env: ProxyEnvironment, path: string): AskAuthz => {
  const plan = compileHttpService(config, path);
  return (attributes, exchange, done) => {
    const http = attributes.request?.http;
    const headers = new HeaderBlock();
    const body = http?.raw_body ?? (http?.body === undefined ? undefined : Buffer.from(http.body));
    if (body === undefined) headers.set('content-length', '0');
    for (const [name, value] of Object.entries(http?.headers ?? {}))
      if (!name.startsWith(':') && name !== 'content-length') headers.add(name, Buffer.from(value).toString('latin1'));
    if (plan.headersToAdd !== undefined) applyHeaderOps([plan.headersToAdd], headers, exchange.info, exchange.requestHeaders);
    const request = {
      cluster: plan.cluster,
      method: exchange.method,
      authority: exchange.authority,
      path: plan.pathOf(exchange.path),
      headers: headers.entries(),
      body: body === undefined ? undefined : Buffer.from(body),
      timeoutMs: plan.timeoutMs,
      answerBytesMax: ANSWER_BYTES_MAX,
      anonymous: true,
      trace: exchange.trace?.call(`async ${plan.cluster} egress`),
    };
    const { trace } = request;
    const start = env.wheel.now();
    return sideCall(env, request, (outcome) => {
      if (outcome.kind === 'failure') {
        done({ kind: 'error', why: `${outcome.reason}: ${outcome.details}` });
        return;
      }
      outcome.headers.set('x-envoy-upstream-service-time', String(Math.floor(env.wheel.now() - start)));
      const decision = decisionOfAnswer(outcome.status, outcome.headers, outcome.body, plan.rules);
      if (trace !== undefined) {
        trace.tag('ext_authz_http_status', STATUS_REASONS[outcome.status] ?? 'Unknown');
        tellDecision(trace, decision);
      }
      done(decision);
    });
  };
};

const compileHttpService = (config: HttpExtAuthz_HttpService, path: string): HttpPlan => {
  const cluster = config.server_uri?.cluster ?? '';
  if (cluster === '') throw new PlanError(`${path}.server_uri.cluster`, 'is required');
  if (config.server_uri?.timeout === undefined) throw new PlanError(`${path}.server_uri.timeout`, 'is required');
  if (config.retry_policy !== undefined) throw new PlanError(`${path}.retry_policy`, 'is not supported');
  const prefix = config.path_prefix ?? '';
  const override = config.path_override ?? '';
  if (prefix !== '' && override !== '') throw new PlanError(`${path}.path_override`, 'cannot stand beside path_prefix');
  for (const [name, text] of [
    ['path_prefix', prefix],
    ['path_override', override],
  ] as const)
    if (text !== '' && !text.startsWith('/')) throw new PlanError(`${path}.${name}`, 'must begin with /');
  const answer = config.authorization_response;
  const at = `${path}.authorization_response`;
  const add = (config.authorization_request?.headers_to_add ?? []).map((header) => ({
    header,
    append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' as const,
  }));
  const client = nameMatch(answer?.allowed_client_headers, `${at}.allowed_client_headers`, ALWAYS_TOLD);
  return {
    cluster,
    timeoutMs: durationMs(config.server_uri.timeout),
    pathOf: (path) => (override !== '' ? override : prefix + path),
    headersToAdd: compileHeaderOps({ add, remove: undefined }, `${path}.authorization_request`, 'request'),
    rules: {
      upstream: nameMatch(answer?.allowed_upstream_headers, `${at}.allowed_upstream_headers`) ?? never,
      upstreamAppend: nameMatch(answer?.allowed_upstream_headers_to_append, `${at}.allowed_upstream_headers_to_append`) ?? never,
      clientOnSuccess: nameMatch(answer?.allowed_client_headers_on_success, `${at}.allowed_client_headers_on_success`) ?? never,
      client: client ?? ((name) => name !== 'host'),
      metadata: nameMatch(answer?.dynamic_metadata_from_headers, `${at}.dynamic_metadata_from_headers`) ?? never,
    },
  };
};

const never = (): boolean => false;
const ALWAYS_TOLD: ReadonlySet<string> = new Set(['content-length', 'www-authenticate', 'location']);

/** undefined: there is no list. `besides`: names that any list has. */
export const nameMatch = (
  list: Matcher_ListStringMatcher | undefined,
  path: string,
  besides?: ReadonlySet<string>,
): TextMatch | undefined => {
  const patterns = (list?.patterns ?? []).map((pattern, i) => compileStringMatcher(pattern, `${path}.patterns[${i}]`));
  if (patterns.length === 0) return undefined;
  return (name) => besides?.has(name) === true || patterns.some((matches) => matches(name));
};
