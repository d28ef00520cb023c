// Whether the clusters that routes name are there (`validate_clusters`): routes inside a listener are refused over one that is not,
// as by Envoy, unless they say otherwise; routes that come by their own name only where they ask for it. Names that a request's header
// gives are not known before.

import { PlanError } from '../../plan/plan-error.ts';
import type { RouteAction, RouteAction_RequestMirrorPolicy, RouteConfiguration } from '../../xds/gen/types.ts';

type Knows = (name: string) => boolean;

/** Throws PlanError. `inline`: they stand in a listener. */
export const checkRouteClusters = (routes: RouteConfiguration, knows: Knows, inline: boolean): void => {
  if (!(routes.validate_clusters ?? inline)) return;
  checkMirrors(routes.request_mirror_policies, knows, '');
  routes.virtual_hosts?.forEach((host, h) => {
    checkMirrors(host.request_mirror_policies, knows, `virtual_hosts[${h}].`);
    host.routes?.forEach(({ route }, r) => {
      if (route !== undefined) checkAction(route, knows, `virtual_hosts[${h}].routes[${r}].route.`);
    });
  });
};

const checkAction = (action: RouteAction, knows: Knows, path: string): void => {
  check(action.cluster, knows, `${path}cluster`, 'cluster');
  action.weighted_clusters?.clusters?.forEach((weighted, i) => {
    check(weighted.name, knows, `${path}weighted_clusters.clusters[${i}].name`, 'weighted cluster');
  });
  checkMirrors(action.request_mirror_policies, knows, path);
};

const checkMirrors = (policies: readonly RouteAction_RequestMirrorPolicy[] | undefined, knows: Knows, path: string): void => {
  policies?.forEach((policy, i) => {
    check(policy.cluster, knows, `${path}request_mirror_policies[${i}].cluster`, 'shadow cluster');
  });
};

const check = (name: string | undefined, knows: Knows, path: string, what: string): void => {
  if (name !== undefined && name !== '' && !knows(name)) throw new PlanError(path, `route: unknown ${what} '${name}'`);
};
