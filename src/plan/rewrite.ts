// What a matched route makes of path, host and, for redirects, of the whole address.
import type { Core_TypedExtensionConfig, RedirectAction, RouteAction, UriTemplateRewriteConfig } from '../xds/gen/types.ts';
import { typeNameOf } from './extension-type.ts';
import { compileTemplateRewrite } from './path-template.ts';
import { PlanError } from './plan-error.ts';
import { withoutQuery } from './query.ts';
import { compileSubstitution } from './regex.ts';
import type { RequestView } from './request-view.ts';
import type { PathCriterion } from './route-criteria.ts';
import type { HostRewrite, RouteMatch } from './route-plan.ts';

type RewriteFields = Pick<RouteAction, 'prefix_rewrite' | 'regex_rewrite' | 'path_rewrite_policy'>;

/** prefix_rewrite replaces what the route matched (the whole path unless it matched a prefix), regex_rewrite every match; the query stays. */
export const compilePathRewrite = (
  config: RewriteFields & Partial<RedirectAction>,
  matched: PathCriterion,
  path: string,
): ((path: string) => string) | undefined => {
  const prefix = config.prefix_rewrite ?? '';
  if (config.path_rewrite_policy !== undefined) {
    if (prefix !== '' || config.regex_rewrite !== undefined)
      throw new PlanError(`${path}.path_rewrite_policy`, 'cannot stand beside prefix_rewrite or regex_rewrite');
    return compileTemplate(config.path_rewrite_policy, matched, `${path}.path_rewrite_policy`);
  }
  if (config.regex_rewrite !== undefined) {
    if (prefix !== '') throw new PlanError(`${path}.regex_rewrite`, 'cannot stand beside prefix_rewrite');
    const substitute = compileSubstitution(config.regex_rewrite, `${path}.regex_rewrite`);
    return (from) => {
      const bare = withoutQuery(from);
      return substitute(bare) + from.slice(bare.length);
    };
  }
  if (prefix === '') return undefined;
  if (matched.kind === 'connect') throw new PlanError(`${path}.prefix_rewrite`, 'CONNECT has no path to rewrite');
  if (matched.kind === 'prefix' || matched.kind === 'separated-prefix') {
    const length = matched.text.length;
    return (from) => prefix + from.slice(length);
  }
  return (from) => prefix + from.slice(withoutQuery(from).length);
};

const REWRITE = 'envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig';
const compileTemplate = (policy: Core_TypedExtensionConfig, matched: PathCriterion, path: string): ((path: string) => string) => {
  const config = policy.typed_config;
  if (typeNameOf(config) !== REWRITE) throw new PlanError(path, 'only a uri_template is supported');
  const { path_template_rewrite: text } = config as unknown as UriTemplateRewriteConfig;
  const rewrite = compileTemplateRewrite(text ?? '', matched.template, `${path}.path_template_rewrite`);
  return (from) => {
    const bare = withoutQuery(from);
    return rewrite(bare) + from.slice(bare.length);
  };
};

export const compileHostRewrite = (action: RouteAction, path: string): HostRewrite | undefined => {
  const set: HostRewrite[] = [];
  if (action.host_rewrite_literal !== undefined && action.host_rewrite_literal !== '')
    set.push({ kind: 'literal', host: action.host_rewrite_literal });
  if (action.host_rewrite_header !== undefined && action.host_rewrite_header !== '')
    set.push({ kind: 'header', name: action.host_rewrite_header.toLowerCase() });
  if (action.host_rewrite_path_regex !== undefined)
    set.push({ kind: 'path', rewrite: compileSubstitution(action.host_rewrite_path_regex, `${path}.host_rewrite_path_regex`) });
  if (action.auto_host_rewrite === true) set.push({ kind: 'auto' });
  if (set.length > 1) throw new PlanError(path, 'only one kind of host rewrite may be set');
  return set[0];
};

/** The path to send upstream; the same string when the route does not rewrite (otherwise x-envoy-original-path is the caller's to set). */
export const rewrittenPath = (match: RouteMatch, req: RequestView): string => match.route.pathRewrite?.(req.path) ?? req.path;

/** The authority to send upstream; undefined: unchanged. `upstreamHostname` feeds auto_host_rewrite. */
export const rewrittenHost = (match: RouteMatch, req: RequestView, upstreamHostname: string | undefined): string | undefined => {
  const rewrite = match.route.hostRewrite;
  if (rewrite === undefined) return undefined;
  switch (rewrite.kind) {
    case 'literal':
      return rewrite.host;
    case 'header':
      return req.headers.get(rewrite.name) || undefined;
    case 'path':
      return rewrite.rewrite(withoutQuery(req.path));
    case 'auto':
      return upstreamHostname || undefined;
  }
};

/** `location` of a redirect route. */
export const redirectLocation = (match: RouteMatch, req: RequestView): string => {
  const plan = match.route.redirect;
  if (plan === undefined) return '';
  const scheme = plan.scheme ?? req.scheme;
  const host = plan.host !== '' ? plan.host : plan.keepHost ? req.authority : requestHost(req, scheme, plan.port !== 0);
  const port = plan.port === 0 ? '' : `:${plan.port}`;
  return `${scheme}://${host}${port}${redirectPath(match, req)}`;
};

const redirectPath = (match: RouteMatch, req: RequestView): string => {
  const plan = match.route.redirect;
  if (plan === undefined) return '';
  // A path that brings its own query replaces the request's, and strip_query does not touch it.
  if (plan.path.includes('?')) return plan.path;
  const mark = req.path.indexOf('?');
  const full = plan.path === '' ? rewrittenPath(match, req) : plan.path + (mark < 0 ? '' : req.path.slice(mark));
  if (!plan.stripQuery) return full;
  const cut = full.indexOf('?');
  return cut < 0 ? full : full.slice(0, cut);
};

/** The request's host; its port goes when another is set, or when it was the default of a scheme that changes. */
const requestHost = (req: RequestView, scheme: string, portIsSet: boolean): string => {
  const host = req.authority;
  const colon = host.startsWith('[') ? host.indexOf(']:') + (host.includes(']:') ? 1 : 0) : host.lastIndexOf(':');
  if (colon <= 0) return host;
  const port = host.slice(colon);
  const wasDefault = scheme !== req.scheme && ((req.scheme === 'https' && port === ':443') || (req.scheme === 'http' && port === ':80'));
  return portIsSet || wasDefault ? host.slice(0, colon) : host;
};
