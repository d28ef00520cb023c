// Which HTTP rules of VirtualServices may have taken a logged request, decided by the conditions that the sidecar is given, compiled by its
// code. Headers and tokens are not in a log: a rule that asks for them may have taken it, and so may those after it. Pure.

import { ofKind, type Resource } from '../api/resource.ts';
import type { HttpMatchRequest, HttpRoute } from '../api/specs.ts';
import { compareSpecificity, hostSubsetOf, isWildcard } from '../mesh/host.ts';
import { MESH_GATEWAY, type VirtualServiceRule } from '../mesh/virtual-services.ts';
import { PlanError } from '../plan/plan-error.ts';
import { withoutQuery } from '../plan/query.ts';
import type { RequestView } from '../plan/request-view.ts';
import { compileCriteria } from '../plan/route-criteria.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { concernsProxy, routeMatch } from '../translate/route-match.ts';
import { HeaderBlock } from '../wire/header-block.ts';
import type { LoggedRequest } from './access-line.ts';
import { type KnownMesh, type Place, placeOf } from './known-mesh.ts';

/** A request by its log line, and the proxy that wrote it; undefined: nobody that is known. */
export interface AskedRoute {
  readonly mesh: KnownMesh;
  readonly logged: LoggedRequest;
  readonly node: ProxyNode | undefined;
}

export type RuleField = 'fault' | 'timeout' | 'retries' | 'redirect' | 'directResponse' | 'route';

/** `outbound|80|v1|payment.production.svc.cluster.local`; empty texts and 0 for others. */
export const targetOf = ({ cluster }: LoggedRequest): { readonly port: number; readonly subset: string; readonly host: string } => {
  const [, port = '', subset = '', host = ''] = cluster.split('|');
  return { port: Number(port) || 0, subset, host };
};

export const hostAsked = ({ authority }: LoggedRequest): string => authority.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');

/** The places of a field in the rules that may have taken the request, the likeliest first. */
export const rulePlaces = (asked: AskedRoute, field: RuleField): readonly Place[] => {
  const places = virtualServicesFor(asked).flatMap((rule) => takenBy(asked, rule.resource, field));
  const told = places.filter((p) => p.status !== undefined && p.status === asked.logged.code);
  return [...told, ...places.filter((p) => !told.includes(p))].map((p) => p.place);
};

/** Those whose host was asked: of the narrowest host only, as a proxy is given them. */
export const virtualServicesFor = (asked: AskedRoute): readonly VirtualServiceRule[] => {
  const wanted = namesOf(asked);
  const covering = (rule: VirtualServiceRule): string | undefined =>
    rule.hosts.filter((h) => wanted.some((w) => hostSubsetOf(w, h))).sort(compareSpecificity)[0];
  const found = seenBy(asked).flatMap((rule) => {
    const host = covering(rule);
    return host === undefined ? [] : [{ rule, host }];
  });
  const narrowest = found.map((f) => f.host).sort(compareSpecificity)[0] ?? '';
  return found.filter((f) => (isWildcard(narrowest) ? f.host === narrowest : !isWildcard(f.host))).map((f) => f.rule);
};

const seenBy = ({ mesh, node }: AskedRoute): readonly VirtualServiceRule[] => {
  if (node === undefined) return mesh.snapshot.virtualServices.all;
  if (node.kind === 'router') return mesh.snapshot.virtualServices.all.filter((r) => r.gateways.some((g) => g !== MESH_GATEWAY));
  return [...new Set(mesh.snapshot.scopes.for(node).egress.flatMap((e) => e.virtualServices))];
};

/** A short name stands for the service of the caller's namespace. */
const namesOf = ({ logged, node, mesh }: AskedRoute): readonly string[] => {
  const asked = hostAsked(logged);
  const { host } = targetOf(logged);
  const domain = mesh.snapshot.services.all.find((s) => s.host.includes('.svc.'))?.host.replace(/^.*?\.svc\./, '') ?? 'cluster.local';
  const long = asked.includes('.') ? [`${asked}.svc.${domain}`, `${asked}.${domain}`] : [`${asked}.${node?.namespace ?? ''}.svc.${domain}`];
  return [...(asked === '' ? [] : [asked, ...long]), ...(host === '' ? [] : [host])];
};

/** `status`: of the answer that the rule makes. */
interface RulePlace {
  readonly place: Place;
  readonly status: number | undefined;
}

const takenBy = (asked: AskedRoute, resource: Resource<'VirtualService'>, field: RuleField): readonly RulePlace[] => {
  const http = resource.spec.http ?? [];
  const named = http.findIndex((h) => isNamed(h, asked.logged.route));
  const taken = named < 0 ? takenIndexes(asked, http) : [named];
  return taken.flatMap((i) => {
    const rule = http[i];
    if (rule === undefined) return [];
    const below = rule.delegate === undefined ? [] : delegated(asked, resource, rule, field);
    if (below.length > 0 || rule[field] === undefined) return below;
    return [{ place: placeOf(resource, `spec.http[${i}].${field}`), status: statusOf(rule, field) }];
  });
};

/** A route's name is that of its rule, and behind it that of the match. */
const isNamed = ({ name = '' }: HttpRoute, route: string): boolean => name !== '' && (route === name || route.startsWith(`${name}.`));

const statusOf = (rule: HttpRoute, field: RuleField): number | undefined => {
  if (field === 'fault') return rule.fault?.abort?.httpStatus;
  return field === 'directResponse' ? rule.directResponse?.status : undefined;
};

/** What a delegate says goes before what its root says. */
const delegated = (asked: AskedRoute, root: Resource<'VirtualService'>, rule: HttpRoute, field: RuleField): readonly RulePlace[] => {
  const { name = '', namespace = '' } = rule.delegate ?? {};
  const found = ofKind(asked.mesh.resources, 'VirtualService').find(
    (r) => r.name === name && r.namespace === (namespace === '' ? root.namespace : namespace),
  );
  return found === undefined || found === root || (found.spec.hosts ?? []).length > 0 ? [] : takenBy(asked, found, field);
};

/** In their order, until one has surely taken it. */
const takenIndexes = (asked: AskedRoute, http: readonly HttpRoute[]): readonly number[] => {
  const out: number[] = [];
  for (const [i, rule] of http.entries()) {
    const takes = takesRule(asked, rule);
    if (takes !== 'no') out.push(i);
    if (takes === 'yes') break;
  }
  return out;
};

type Takes = 'yes' | 'maybe' | 'no';

const takesRule = (asked: AskedRoute, { match = [] }: HttpRoute): Takes => {
  if (match.length === 0) return 'yes';
  const all = match.map((m) => takesMatch(asked, m));
  return all.includes('yes') ? 'yes' : all.includes('maybe') ? 'maybe' : 'no';
};

const takesMatch = (asked: AskedRoute, match: HttpMatchRequest): Takes => {
  const { logged, node } = asked;
  const port = targetOf(logged).port || match.port || 0;
  // Which of a gateway's servers took it, nobody wrote down.
  const gateways = node?.kind === 'router' ? (match.gateways ?? []) : [MESH_GATEWAY];
  if (node !== undefined && !concernsProxy(match, node, gateways, port)) return 'no';
  const whole = routeMatch(match);
  const headers = (whole.headers ?? []).filter((h) => KNOWN.has(h.name ?? ''));
  const { dynamic_metadata: claims = [], headers: _, ...rest } = whole;
  const isWhole = claims.length === 0 && headers.length === (whole.headers ?? []).length;
  try {
    const { path, conditions } = compileCriteria({ ...rest, headers }, 'match');
    const request = viewOf(logged);
    if (!path.matches(withoutQuery(logged.path), request) || !conditions.every((c) => c(request, 0, undefined))) return 'no';
    return isWhole ? 'yes' : 'maybe';
  } catch (error) {
    if (error instanceof PlanError) return 'maybe';
    throw error;
  }
};

/** The conditions on headers that a log tells. */
const KNOWN: ReadonlySet<string> = new Set([':method', ':authority']);

const viewOf = ({ method, path, authority }: LoggedRequest): RequestView => ({
  method,
  path,
  authority,
  scheme: 'http',
  headers: new HeaderBlock(),
});
