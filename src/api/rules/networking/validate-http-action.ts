// The parts of an HTTP route that do something: redirect, direct response, rewrite, retries, faults, mirrors, CORS.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type {
  CorsPolicy,
  HttpDirectResponse,
  HttpFaultInjection,
  HttpMirrorPolicy,
  HttpRedirect,
  HttpRetry,
  HttpRewrite,
  HttpRoute,
  StringMatch,
} from '../../specs.ts';
import { checkDuration, parseDuration } from '../../values/duration-text.ts';
import { checkCorsHeaderName } from '../../values/header-text.ts';
import { checkPort } from '../../values/host-name.ts';
import { checkRegex } from '../../values/regex-text.ts';
import { checkDestination } from './validate-destination.ts';

const retryPolicies: ReadonlySet<string> = new Set([
  ...['5xx', 'gateway-error', 'reset', 'reset-before-request', 'connect-failure', 'retriable-4xx', 'refused-stream'],
  ...['retriable-status-codes', 'retriable-headers', 'envoy-ratelimited', 'http3-post-connect-failure'],
  ...['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'],
]);

/** Status codes that have a registered reason phrase. */
const knownStatus = (code: number): boolean =>
  (code >= 100 && code <= 103) ||
  (code >= 200 && code <= 208) ||
  code === 226 ||
  (code >= 300 && code <= 308 && code !== 306) ||
  (code >= 400 && code <= 418) ||
  (code >= 421 && code <= 426) ||
  [428, 429, 431, 451].includes(code) ||
  (code >= 500 && code <= 511 && code !== 509);

export const checkRetry = (retries: HttpRetry, path: string, findings: Findings): void => {
  const attempts = retries.attempts ?? 0;
  if (attempts < 0) findings.error(child(path, 'attempts'), 'attempts cannot be negative');
  const configured = retries.perTryTimeout !== undefined || (retries.retryOn ?? '') !== '' || retries.retryRemoteLocalities !== undefined;
  if (attempts === 0 && configured) findings.error(path, 'http retry policy configured when attempts are set to 0 (disabled)');
  if (retries.perTryTimeout !== undefined) findings.unless(child(path, 'perTryTimeout'), checkDuration(retries.perTryTimeout));
  if (retries.backoff !== undefined) findings.unless(child(path, 'backoff'), checkDuration(retries.backoff));
  const retryOn = retries.retryOn ?? '';
  for (const policy of retryOn === '' ? [] : retryOn.split(',')) {
    if (retryPolicies.has(policy) || (/^\d+$/.test(policy) && knownStatus(Number(policy)))) continue;
    const hint = policy !== policy.trim() ? 'no spaces between the policies' : undefined;
    findings.error(child(path, 'retryOn'), `${JSON.stringify(policy)} is not a valid retryOn policy`, hint);
  }
};

export const checkRedirect = (redirect: HttpRedirect, path: string, findings: Findings, route: Pick<HttpRoute, 'match'>): void => {
  const uri = redirect.uri ?? '';
  const prefixRewrite = redirect.prefixRewrite ?? '';
  const port = redirect.port !== undefined || redirect.derivePort !== undefined;
  if (uri === '' && prefixRewrite === '' && !redirect.authority && !redirect.scheme && !port) {
    findings.error(path, 'redirect must specify URI, authority, scheme, or port');
  }
  if (uri !== '' && prefixRewrite !== '')
    findings.error(child(path, 'prefixRewrite'), 'redirect may only contain one of uri or prefixRewrite');
  if (prefixRewrite !== '' && (route.match ?? []).some((m) => m.uri && m.uri.prefix === undefined)) {
    findings.error(child(path, 'prefixRewrite'), 'prefixRewrite needs every uri match to be a prefix');
  }
  const code = redirect.redirectCode ?? 0;
  if (code !== 0 && (code < 300 || code > 399)) {
    findings.error(child(path, 'redirectCode'), `${code} is not a valid redirect code, must be 3xx`);
  }
  if (!['', 'http', 'https'].includes(redirect.scheme ?? '')) {
    findings.error(child(path, 'scheme'), 'invalid redirect scheme, must be "http" or "https"');
  }
  if (redirect.port !== undefined && redirect.port > 0) findings.unless(child(path, 'port'), checkPort(redirect.port));
};

const WARNED_BODY_BYTES = 100 * 1024;
const REFUSED_BODY_BYTES = 1024 * 1024;

export const checkDirectResponse = (response: HttpDirectResponse, path: string, findings: Findings): void => {
  const text = response.body?.string;
  const size = text !== undefined ? new TextEncoder().encode(text).length : base64Size(response.body?.bytes ?? '');
  const message = 'large direct responses burden the control plane';
  if (size > REFUSED_BODY_BYTES) findings.error(child(path, 'body'), `${message}, must be less than 1MB`);
  else if (size > WARNED_BODY_BYTES) findings.warn(child(path, 'body'), message);
  checkHttpStatus(response.status ?? 0, child(path, 'status'), findings);
};

const base64Size = (text: string): number => Math.floor((text.replace(/=+$/, '').length * 3) / 4);

const checkHttpStatus = (status: number, path: string, findings: Findings): void => {
  if (status < 200 || status > 600) findings.error(path, `HTTP status ${status} is not in range 200-599`);
};

export const checkRewrite = (rewrite: HttpRewrite, path: string, findings: Findings): void => {
  const uri = rewrite.uri ?? '';
  const regex = rewrite.uriRegexRewrite;
  if (uri !== '' && regex) findings.error(child(path, 'uriRegexRewrite'), 'rewrite may only contain one of uri or uriRegexRewrite');
  if (uri === '' && !regex && (rewrite.authority ?? '') === '') {
    findings.error(path, 'rewrite must specify at least one of uri, uriRegexRewrite, or authority');
  }
  if (regex) checkRegexRewrite(regex, child(path, 'uriRegexRewrite'), findings);
};

export const checkRegexRewrite = (regex: NonNullable<HttpRewrite['uriRegexRewrite']>, path: string, findings: Findings): void => {
  if (!regex.match || !regex.rewrite) findings.error(path, 'uriRegexRewrite requires both rewrite and match fields to be specified');
  else findings.unless(child(path, 'match'), checkRegex(regex.match));
};

export const checkFault = (fault: HttpFaultInjection, path: string, findings: Findings): void => {
  if (!fault.abort && !fault.delay) findings.error(path, 'HTTP fault injection must have an abort and/or a delay');
  if (fault.abort) checkAbort(fault.abort, child(path, 'abort'), findings);
  if (fault.delay) checkDelay(fault.delay, child(path, 'delay'), findings);
};

/** By number. */
const grpcStatuses: readonly string[] = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED'],
  ...['RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS'],
  'UNAUTHENTICATED',
];

export const checkAbort = (abort: NonNullable<HttpFaultInjection['abort']>, path: string, findings: Findings): void => {
  checkPercentage(abort.percentage?.value, child(path, 'percentage'), findings);
  if (abort.http2Error !== undefined) findings.error(child(path, 'http2Error'), 'HTTP/2 abort fault injection not supported by Istio');
  else if (abort.grpcStatus !== undefined) {
    if (grpcStatuses.includes(abort.grpcStatus)) return;
    const meant = /^\d{1,2}$/.test(abort.grpcStatus) ? grpcStatuses[Number(abort.grpcStatus)] : undefined;
    findings.error(
      child(path, 'grpcStatus'),
      `gRPC status ${JSON.stringify(abort.grpcStatus)} is not supported`,
      meant === undefined ? 'write its name, such as "NOT_FOUND"' : `write its name: "${meant}"`,
    );
  } else if (abort.httpStatus !== undefined) checkHttpStatus(abort.httpStatus, child(path, 'httpStatus'), findings);
  else findings.warn(path, 'abort configured, but error type not set');
};

export const checkDelay = (delay: NonNullable<HttpFaultInjection['delay']>, path: string, findings: Findings): void => {
  checkPercentage(delay.percentage?.value, child(path, 'percentage'), findings);
  if (delay.fixedDelay !== undefined) findings.unless(child(path, 'fixedDelay'), checkDuration(delay.fixedDelay));
  if (delay.exponentialDelay !== undefined) findings.error(child(path, 'exponentialDelay'), 'exponentialDelay is not supported by Istio');
};

const checkPercentage = (value: number | undefined, path: string, findings: Findings): void => {
  if (value === undefined || (value >= 0.0001 && value <= 100) || value === 0) return;
  findings.error(path, `percentage ${value} is neither 0.0, nor in range [0.0001, 100.0]`);
};

export const checkMirrorPercentage = (value: number | undefined, path: string, findings: Findings): void => {
  if (value !== undefined && value > 100) findings.error(path, `mirror percentage must have a max value of 100 (it has ${value})`);
  if (value !== undefined && value < 0) findings.error(path, `mirror percentage must have a min value of 0 (it has ${value})`);
};

export const checkMirrors = (mirrors: readonly HttpMirrorPolicy[], path: string, findings: Findings): void => {
  for (const [index, mirror] of mirrors.entries()) {
    const at = item(path, index);
    if (mirror.destination === undefined) findings.error(at, 'destination is required for mirrors');
    else checkDestination(mirror.destination, child(at, 'destination'), findings);
    checkMirrorPercentage(mirror.percentage?.value, child(at, 'percentage'), findings);
  }
};

const corsMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', '*']);

export const checkCorsPolicy = (policy: CorsPolicy, path: string, findings: Findings): void => {
  for (const [index, origin] of (policy.allowOrigins ?? []).entries())
    checkOrigin(origin, item(child(path, 'allowOrigins'), index), findings);
  for (const [index, method] of (policy.allowMethods ?? []).entries()) {
    if (corsMethods.has(method)) continue;
    findings.error(item(child(path, 'allowMethods'), index), `${JSON.stringify(method)} is not a supported HTTP method`);
  }
  for (const field of ['allowHeaders', 'exposeHeaders'] as const) {
    for (const [index, name] of (policy[field] ?? []).entries())
      findings.unless(item(child(path, field), index), checkCorsHeaderName(name));
  }
  if (policy.maxAge === undefined) return;
  const at = child(path, 'maxAge');
  findings.unless(at, checkDuration(policy.maxAge));
  if ((parseDuration(policy.maxAge) ?? 0n) % 1_000_000_000n !== 0n) findings.error(at, 'maxAge is accurate only to seconds');
};

const checkOrigin = (origin: StringMatch, path: string, findings: Findings): void => {
  if (!origin.exact && !origin.prefix && !origin.regex) findings.error(path, 'an allowed origin must not be empty');
  else if (origin.regex) findings.unless(child(path, 'regex'), checkRegex(origin.regex));
};
