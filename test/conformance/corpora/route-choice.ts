// The virtual host and the route that this proxy's compiled decision gives a request.

import { compileRoutes, matchRoute } from '../../../src/plan/route.ts';
import { lookUpHost } from '../../../src/plan/virtual-host-lookup.ts';
import type { RouteConfiguration } from '../../../src/xds/gen/types.ts';
import { request } from '../../plan/request.ts';

interface RoutedRequest {
  readonly host: string;
  readonly path: string;
  readonly scheme: 'http' | 'https';
  readonly headers: readonly (readonly [string, string])[];
}

interface ChosenRoute {
  readonly virtualHost: string;
  /** undefined: no route of it takes the request. */
  readonly route: { readonly name: string; readonly cluster: string; readonly redirectsToHttps: boolean } | undefined;
}

/** undefined: no virtual host. */
export const chooseRoute = (config: RouteConfiguration, asked: RoutedRequest): ChosenRoute | undefined => {
  const plan = compileRoutes(config);
  const view = request(asked.path, { authority: asked.host, scheme: asked.scheme, headers: asked.headers });
  const virtualHost = lookUpHost(plan.hosts, asked.host)?.plan.name;
  if (virtualHost === undefined) return undefined;
  const match = matchRoute(plan, view, () => 0);
  if (match.kind !== 'route') return { virtualHost, route: undefined };
  const { route, clusterName: cluster } = match;
  return { virtualHost, route: { name: route.name, cluster, redirectsToHttps: route.redirect?.keepHost === true } };
};
