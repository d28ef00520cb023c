// Route configurations as small as a test needs them, and what is decided by them.
import assert from 'node:assert/strict';
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileRoutes, matchRoute, type RouteMatch } from '../../src/plan/route.ts';
import type { Route, RouteConfiguration, RouteMatch as RouteMatchConfig, VirtualHost } from '../../src/xds/gen/types.ts';
import type { request } from './request.ts';

export const config = (
  routes: readonly Route[],
  host: Partial<VirtualHost> = {},
  rc: Partial<RouteConfiguration> = {},
): RouteConfiguration => ({
  name: '80',
  virtual_hosts: [{ name: 'v', domains: ['*'], ...host, routes }],
  ...rc,
});
export const to = (cluster: string, match: RouteMatchConfig = { prefix: '/' }): Route => ({ name: cluster, match, route: { cluster } });
export const decide = (rc: RouteConfiguration, req: ReturnType<typeof request>, random: () => number = Math.random): string => {
  const m = matchRoute(compileRoutes(rc), req, random);
  return m.kind === 'route' ? m.clusterName || m.route.name : m.kind;
};
export const matched = (rc: RouteConfiguration, req: ReturnType<typeof request>): RouteMatch => {
  const m = matchRoute(compileRoutes(rc), req, () => 0);
  assert.equal(m.kind, 'route');
  return m as RouteMatch;
};
export const refuses = (rc: RouteConfiguration, path: string): void => {
  assert.throws(
    () => compileRoutes(rc),
    (e) => {
      assert.ok(e instanceof PlanError);
      assert.equal(e.path, path);
      return true;
    },
  );
};
