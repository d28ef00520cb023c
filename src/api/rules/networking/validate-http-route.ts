// The rules of one HTTP route of a VirtualService: which actions go together, and what each part must look like.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { HeaderOperations, Headers, HttpMatchRequest, HttpRoute, HttpRouteDestination, StringMatch } from '../../specs.ts';
import { checkDuration } from '../../values/duration-text.ts';
import {
  checkHeaderOperationName,
  checkHeaderValue,
  checkMatchHeaderName,
  checkRequestHeaderName,
  isAuthorityHeader,
  routingClaim,
} from '../../values/header-text.ts';
import { checkPort, isDnsLabel } from '../../values/host-name.ts';
import { checkLabels } from '../../values/label-text.ts';
import { checkRegex } from '../../values/regex-text.ts';
import { checkDestination, checkGatewayNames } from './validate-destination.ts';
import {
  checkCorsPolicy,
  checkDirectResponse,
  checkFault,
  checkMirrorPercentage,
  checkMirrors,
  checkRedirect,
  checkRetry,
  checkRewrite,
} from './validate-http-action.ts';

/** `delegate`: the route of a VirtualService without hosts. */
export const checkHttpRoute = (route: HttpRoute, path: string, findings: Findings, delegate: boolean): void => {
  checkActions(route, path, findings, delegate);
  for (const [index, match] of (route.match ?? []).entries()) checkHttpMatch(match, item(child(path, 'match'), index), findings);
  checkHeaders(route.headers, child(path, 'headers'), findings);
  if (route.corsPolicy) checkCorsPolicy(route.corsPolicy, child(path, 'corsPolicy'), findings);
  if (route.fault) checkFault(route.fault, child(path, 'fault'), findings);
  if (route.mirrorPercent !== undefined) {
    const at = child(path, 'mirrorPercent');
    if (route.mirrorPercent > 100) findings.error(at, `mirror_percent must have a max value of 100 (it has ${route.mirrorPercent})`);
    findings.warn(at, 'using deprecated setting "mirrorPercent", use "mirrorPercentage" instead');
  }
  checkMirrorPercentage(route.mirrorPercentage?.value, child(path, 'mirrorPercentage'), findings);
  if (route.mirror) checkDestination(route.mirror, child(path, 'mirror'), findings);
  checkMirrors(route.mirrors ?? [], child(path, 'mirrors'), findings);
  if (route.redirect) checkRedirect(route.redirect, child(path, 'redirect'), findings, route);
  if (route.directResponse) checkDirectResponse(route.directResponse, child(path, 'directResponse'), findings);
  if (route.retries) checkRetry(route.retries, child(path, 'retries'), findings);
  if (route.rewrite) checkRewrite(route.rewrite, child(path, 'rewrite'), findings);
  checkAuthoritySetOnce(route, path, findings);
  checkHttpDestinations(route.route ?? [], child(path, 'route'), findings);
  if (route.timeout !== undefined) {
    const hint = route.timeout === '0s' ? 'leave it out: without it there is no timeout' : undefined;
    findings.unless(child(path, 'timeout'), checkDuration(route.timeout), hint);
  }
};

const checkActions = (route: HttpRoute, path: string, findings: Findings, delegate: boolean): void => {
  const hasRoute = (route.route ?? []).length > 0;
  if (route.delegate && !delegate) {
    if (route.redirect) findings.error(child(path, 'redirect'), 'a route with a delegate must not specify redirect');
    if (route.route) findings.error(child(path, 'route'), 'a route with a delegate must not specify route');
    return;
  }
  if (route.delegate) findings.error(child(path, 'delegate'), 'delegate HTTP route cannot contain delegate');
  const answers = route.redirect ? 'redirect' : route.directResponse ? 'directResponse' : undefined;
  if (answers !== undefined) {
    if (hasRoute)
      findings.error(
        child(path, 'route'),
        `HTTP route cannot contain both route and ${answers}`,
        `a rule either routes or answers: remove one`,
      );
    if (route.fault) findings.error(child(path, 'fault'), `HTTP route cannot contain both fault and ${answers}`);
    if (route.rewrite) findings.error(child(path, 'rewrite'), `HTTP route cannot contain both rewrite and ${answers}`);
    if (route.redirect && route.directResponse) {
      findings.error(child(path, 'directResponse'), 'HTTP route cannot contain both redirect and directResponse');
    }
  } else if (!hasRoute)
    findings.error(path, 'HTTP route, redirect or directResponse is required', 'such as route: [{destination: {host: reviews}}]');
  if (route.mirror && (route.mirrors ?? []).length > 0)
    findings.error(child(path, 'mirrors'), 'HTTP route cannot contain both mirror and mirrors', 'move "mirror" into "mirrors"');
};

const checkHttpMatch = (match: HttpMatchRequest, path: string, findings: Findings): void => {
  for (const [name, header] of Object.entries(match.headers ?? {})) {
    const at = child(child(path, 'headers'), name);
    findings.unless(at, checkMatchHeaderName(name));
    checkStringMatch(header, at, findings, false);
    warnAnyClaim(name, header, at, findings);
  }
  for (const [name, header] of Object.entries(match.withoutHeaders ?? {})) {
    const at = child(child(path, 'withoutHeaders'), name);
    findings.unless(at, checkMatchHeaderName(name));
    // Here, and only here, Istio reads the regex `*` as "present".
    if (header.regex !== '*') checkStringMatch(header, at, findings, false);
    warnAnyClaim(name, header, at, findings);
  }
  checkStringMatch(match.uri, child(path, 'uri'), findings, true);
  for (const field of ['scheme', 'method', 'authority'] as const) checkStringMatch(match[field], child(path, field), findings, false);
  for (const [name, query] of Object.entries(match.queryParams ?? {})) {
    checkStringMatch(query, child(child(path, 'queryParams'), name), findings, false);
  }
  if (match.port !== undefined && match.port !== 0) findings.unless(child(path, 'port'), checkPort(match.port));
  checkLabels(match.sourceLabels, child(path, 'sourceLabels'), findings);
  checkGatewayNames(match.gateways ?? [], child(path, 'gateways'), findings);
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== '' && !isDnsLabel(match.sourceNamespace)) {
    findings.error(child(path, 'sourceNamespace'), `sourceNamespace match ${match.sourceNamespace} is invalid`);
  }
};

/** A header without a value is one that is there; of a claim Envoy has no such match, and takes no route of the configuration then. */
const warnAnyClaim = (name: string, { exact, prefix, regex }: StringMatch, path: string, findings: Findings): void => {
  if (routingClaim(name) === undefined || [exact, prefix, regex].some((v) => v !== undefined)) return;
  const message = 'a claim without a value, which as in Istio makes Envoy refuse the routes beside it too';
  findings.add('warning', 'FIELD_NOT_YET_EFFECTIVE', path, message, 'for "any value" write {regex: ".+"}');
};

const checkStringMatch = (match: StringMatch | undefined, path: string, findings: Findings, emptyPrefix: boolean): void => {
  if (!match) return;
  if (match.prefix === '' && !emptyPrefix)
    findings.error(child(path, 'prefix'), 'prefix string match should not be empty', 'for "any value" write {}');
  if (match.regex === undefined) return;
  if (match.regex === '') findings.error(child(path, 'regex'), 'regex string match should not be empty');
  else findings.unless(child(path, 'regex'), checkRegex(match.regex), match.regex === '*' ? 'for "present" write {}' : undefined);
};

export const checkHeaders = (headers: Headers | undefined, path: string, findings: Findings): void => {
  if (headers?.request) checkOperations(headers.request, child(path, 'request'), findings, checkRequestHeaderName);
  if (headers?.response) checkOperations(headers.response, child(path, 'response'), findings, checkHeaderOperationName);
};

const checkOperations = (
  operations: HeaderOperations,
  path: string,
  findings: Findings,
  checkName: (name: string) => string | undefined,
): void => {
  for (const field of ['set', 'add'] as const) {
    for (const [name, value] of Object.entries(operations[field] ?? {})) {
      const at = child(child(path, field), name);
      findings.unless(at, checkName(name));
      findings.unless(at, checkHeaderValue(value));
    }
  }
  for (const [index, name] of (operations.remove ?? []).entries()) {
    findings.unless(item(child(path, 'remove'), index), checkHeaderOperationName(name));
  }
};

/** The authority has one writer: the rewrite, or one header operation. */
const checkAuthoritySetOnce = (route: HttpRoute, path: string, findings: Findings): void => {
  let current = route.rewrite?.authority ?? '';
  for (const field of ['set', 'add'] as const) {
    for (const [name, value] of Object.entries(route.headers?.request?.[field] ?? {})) {
      if (!isAuthorityHeader(name)) continue;
      if (current !== '') {
        const at = child(below(path, `headers.request.${field}`), name);
        findings.error(
          at,
          `authority header cannot be set multiple times: have ${JSON.stringify(current)}, attempting to set ${JSON.stringify(value)}`,
        );
        return;
      }
      current = value;
    }
  }
};

const checkHttpDestinations = (routes: readonly HttpRouteDestination[], path: string, findings: Findings): void => {
  for (const [index, route] of routes.entries()) {
    checkHeaders(route.headers, child(item(path, index), 'headers'), findings);
  }
  checkWeightedDestinations(routes, path, findings);
};

/** HTTP, TLS and TCP routes alike: each destination, and weights that can be shared out. */
export const checkWeightedDestinations = (
  routes: readonly Pick<HttpRouteDestination, 'destination' | 'weight'>[],
  path: string,
  findings: Findings,
): void => {
  let total = 0;
  for (const [index, route] of routes.entries()) {
    const at = item(path, index);
    // Absent in a value that did not come through the reader.
    if (route.destination === undefined) findings.error(at, 'destination is required');
    else checkDestination(route.destination, child(at, 'destination'), findings);
    const weight = route.weight ?? 0;
    if (weight < 0) findings.error(child(at, 'weight'), `weight ${weight} < 0`);
    total += weight;
  }
  if (routes.length > 1 && total === 0)
    findings.error(path, 'total destination weight = 0', 'give the destinations weights, such as 90 and 10');
};
