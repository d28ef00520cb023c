// Route configurations of gateways: rules of all VirtualServices bound to the servers of a port, joined per host, catch-alls last.

import { serverHosts } from '../mesh/gateways.ts';
import { compareSpecificity, hostSubsetOf, hostsMatch } from '../mesh/host.ts';
import { compareText } from '../mesh/order.ts';
import type { VirtualServiceRule } from '../mesh/virtual-services.ts';
import type { Route, RouteConfiguration, VirtualHost } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import type { BoundServer } from './gateway-servers.ts';
import { attemptCount } from './proxy-headers.ts';
import { httpRoutes, onlyPortOf } from './route-http.ts';
import { isCatchAll } from './route-match.ts';
import { routeConfiguration } from './route-outbound.ts';

interface Draft {
  readonly host: string;
  readonly port: number;
  routes: readonly Route[];
  redirects: boolean;
}

/** `servers` share the route configuration; each has the port its rules speak of. */
export const gatewayRoutes = (c: Context, name: string, servers: readonly BoundServer[]): RouteConfiguration => {
  const drafts = new Map<string, Draft>();
  const made = new Map<string, readonly Route[]>();
  for (const bound of servers) {
    const redirects = bound.server.tls?.httpsRedirect === true;
    const port = bound.server.port.number;
    const scope = {
      port,
      gateways: [bound.gatewayKey],
      onlyPort: (h: string) => onlyPortOf(c.service(h)),
      tls: bound.server.tls !== undefined,
    };
    for (const rule of c.snapshot.virtualServices.for(c.node.namespace, bound.gatewayKey)) {
      if (rule.http.length === 0) continue;
      const hosts = intersection(bound, rule);
      // Servers of one gateway share the routes of a rule.
      const key = `${bound.gatewayKey} ${rule.namespace}/${rule.name}`;
      const routes = hosts.length === 0 ? undefined : (made.get(key) ?? httpRoutes(c, rule, scope));
      if (routes === undefined) continue;
      made.set(key, routes);
      for (const host of hosts.map((h) => h.toLowerCase())) {
        const draft = drafts.get(host);
        if (draft === undefined) drafts.set(host, { host, port, routes, redirects });
        else {
          draft.routes = [...draft.routes, ...routes];
          draft.redirects ||= redirects;
        }
      }
    }
    // A server that redirects does so for its hosts even where no rule speaks.
    if (!redirects) continue;
    for (const host of serverHosts(bound.server).map((h) => h.toLowerCase())) {
      const draft = drafts.get(host);
      if (draft === undefined) drafts.set(host, { host, port, routes: [], redirects });
      else draft.redirects = true;
    }
  }
  return routeConfiguration(name, render(c, drafts, servers[0]?.server.port.number ?? 0));
};

const render = (c: Context, drafts: ReadonlyMap<string, Draft>, port: number): readonly VirtualHost[] => {
  // No route at all: every request gets 404.
  if (drafts.size === 0) return [{ name: `blackhole:${port}`, domains: ['*'] }];
  return joined([...drafts.values()])
    .sort(([a], [b]) => compareText(a.host, b.host))
    .map(([d, domains]) => ({
      name: `${d.host}:${d.port}`,
      domains,
      ...(d.routes.length === 0 ? {} : { routes: [...d.routes.filter((r) => !isCatchAll(r)), ...d.routes.filter(isCatchAll)] }),
      ...(d.redirects ? { require_tls: 'ALL' as const } : {}),
      ...attemptCount(c),
    }));
};

/** Hosts with one list of routes are domains of one virtual host, which is called as the most specific of them. */
const joined = (drafts: readonly Draft[]): [Draft, string[]][] => {
  const out: [Draft, string[]][] = [];
  for (const draft of [...drafts].sort((a, b) => compareSpecificity(a.host, b.host))) {
    const same = out.find(([d]) => d.redirects === draft.redirects && sameRoutes(d.routes, draft.routes));
    if (same === undefined) out.push([draft, [draft.host]]);
    else same[1].push(draft.host);
  }
  return out;
};

const sameRoutes = (a: readonly Route[], b: readonly Route[]): boolean =>
  a === b || (a.length === b.length && a.every((r, i) => r === b[i]));

/** A server's host may name the namespace rules must come from. */
const hostsFor = (bound: BoundServer, rule: VirtualServiceRule): readonly string[] =>
  (bound.server.hosts ?? []).flatMap((h) => {
    const slash = h.indexOf('/');
    if (slash === -1) return [h];
    const namespace = h.slice(0, slash);
    const wanted = namespace === '.' ? bound.gateway.namespace : namespace;
    return wanted === '*' || wanted === rule.namespace ? [h.slice(slash + 1)] : [];
  });

/** Of each pair that overlaps the narrower name. */
export const intersection = (bound: BoundServer, rule: VirtualServiceRule): readonly string[] => {
  const out = new Set<string>();
  for (const server of hostsFor(bound, rule)) {
    for (const host of rule.hosts) {
      if (hostsMatch(server, host)) out.add(hostSubsetOf(host, server) ? host : server);
    }
  }
  return [...out];
};
