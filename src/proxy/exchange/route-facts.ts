// What a request's record says of the route it has, for logs and for filters that look there. Never chooses one.

import type { RouteMatch } from '../../plan/route-plan.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';

export const tellRoute = (info: StreamInfo, match: RouteMatch, cluster: ClusterRuntime | undefined): void => {
  info.routeName = match.route.name;
  info.virtualHostName = match.virtualHost.name;
  info.virtualHostMetadata = match.virtualHost.metadata;
  info.routeMetadata = match.route.metadata;
  info.clusterMetadata = cluster?.config.metadata;
  info.upstreamClusterRaw = match.clusterName;
  info.upstreamCluster = cluster?.statName ?? '';
};

export const forgetRoute = (info: StreamInfo): void => {
  info.routeName = '';
  info.virtualHostName = '';
  info.virtualHostMetadata = undefined;
  info.routeMetadata = undefined;
  info.clusterMetadata = undefined;
  info.upstreamClusterRaw = '';
  info.upstreamCluster = '';
};
