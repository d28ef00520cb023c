// envoy.config.route.v3.RouteMatch: whether one route takes a request. The path is given without its query.
import { H } from '../wire/header-name.ts';
import type { RouteMatch as RouteMatchConfig, UriTemplateMatchConfig } from '../xds/gen/types.ts';
import { typeNameOf } from './extension-type.ts';
import { compileFraction } from './fraction.ts';
import { compileHeaderMatcher, compileQueryMatcher } from './header-matcher.ts';
import { compilePathTemplate, type PathTemplate } from './path-template.ts';
import { PlanError } from './plan-error.ts';
import { compileFullMatch } from './regex.ts';
import type { RequestView } from './request-view.ts';
import type { Runtime } from './route-plan.ts';
import { compileMetadataMatcher } from './value-matcher.ts';

export interface PathCriterion {
  readonly kind: 'prefix' | 'exact' | 'separated-prefix' | 'regex' | 'connect' | 'template';
  /** The prefix or path; '' for the others. */
  readonly text: string;
  readonly caseSensitive: boolean;
  readonly matches: (path: string, req: RequestView) => boolean;
  readonly template?: PathTemplate;
}
export interface Criteria {
  readonly path: PathCriterion;
  /** A condition reads `draw`. */
  readonly hasFraction: boolean;
  /** All must hold besides the path. `draw` in [0,1), one per request. */
  readonly conditions: readonly ((req: RequestView, draw: number, runtime: Runtime) => boolean)[];
}

export const compileCriteria = (match: RouteMatchConfig | undefined, path: string): Criteria => {
  if (match === undefined) throw new PlanError(path, 'is required');
  const conditions: Criteria['conditions'][number][] = [];
  if (match.runtime_fraction !== undefined) {
    const inside = compileFraction(match.runtime_fraction, `${path}.runtime_fraction`);
    conditions.push((_, draw, runtime) => inside(draw, runtime));
  }
  if (match.grpc !== undefined) conditions.push((req) => isGrpcType(req.headers.getById(H.CONTENT_TYPE)));
  match.headers?.forEach((m, i) => {
    const test = compileHeaderMatcher(m, `${path}.headers[${i}]`);
    conditions.push((req) => test(req));
  });
  match.query_parameters?.forEach((m, i) => {
    const test = compileQueryMatcher(m, `${path}.query_parameters[${i}]`);
    conditions.push((req) => test(req));
  });
  const tls = match.tls_context;
  if (tls?.presented !== undefined) conditions.push((req) => (req.tls?.presented ?? false) === tls.presented);
  if (tls?.validated !== undefined) conditions.push((req) => (req.tls?.validated ?? false) === tls.validated);
  match.dynamic_metadata?.forEach((m, i) => {
    const test = compileMetadataMatcher(m, `${path}.dynamic_metadata[${i}]`);
    conditions.push((req) => test(req.dynamicMetadata));
  });
  return { path: compilePath(match, path), hasFraction: match.runtime_fraction !== undefined, conditions };
};

/** Whether a content-type is gRPC's own: `application/grpc` or `application/grpc+…`. */
export const isGrpcType = (type: string | undefined): boolean =>
  type?.startsWith('application/grpc') === true && (type.length === 16 || type[16] === '+');

const TEMPLATE = 'envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig';

const compilePath = (match: RouteMatchConfig, path: string): PathCriterion => {
  const caseSensitive = match.case_sensitive ?? true;
  const fold = (text: string): string => (caseSensitive ? text : text.toLowerCase());
  if (match.prefix !== undefined) {
    const text = fold(match.prefix);
    // `/` and '' take every path there is but CONNECT's empty one.
    if (text === '/') return { kind: 'prefix', text, caseSensitive, matches: (p) => p.charCodeAt(0) === 47 };
    return { kind: 'prefix', text, caseSensitive, matches: (p) => fold(p).startsWith(text) };
  }
  if (match.path !== undefined) {
    const text = fold(match.path);
    return { kind: 'exact', text, caseSensitive, matches: (p) => fold(p) === text };
  }
  if (match.path_separated_prefix !== undefined) {
    const text = fold(match.path_separated_prefix);
    if (!/^\/[^?#]*[^?#/]$/.test(text)) throw new PlanError(`${path}.path_separated_prefix`, 'must begin with / and not end with /');
    return {
      kind: 'separated-prefix',
      text,
      caseSensitive,
      matches: (p) => (p.length === text.length || p.charCodeAt(text.length) === 47) && fold(p).startsWith(text),
    };
  }
  if (match.safe_regex !== undefined) {
    const full = compileFullMatch(match.safe_regex, `${path}.safe_regex`);
    return { kind: 'regex', text: '', caseSensitive: true, matches: (p) => full(p) };
  }
  if (match.connect_matcher !== undefined)
    return { kind: 'connect', text: '', caseSensitive: true, matches: (_, req) => req.method === 'CONNECT' };
  if (match.path_match_policy !== undefined) {
    const config = match.path_match_policy.typed_config;
    if (typeNameOf(config) !== TEMPLATE) throw new PlanError(`${path}.path_match_policy`, 'only a uri_template is supported');
    const { path_template: text } = config as unknown as UriTemplateMatchConfig;
    const template = compilePathTemplate(text ?? '', `${path}.path_match_policy.path_template`);
    return { kind: 'template', text: '', caseSensitive: true, matches: (p) => template.take(p) !== undefined, template };
  }
  throw new PlanError(path, 'one of prefix, path, safe_regex, path_separated_prefix, connect_matcher is required');
};
