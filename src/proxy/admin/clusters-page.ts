// GET /clusters: the hosts of every cluster with their health and counts, as text or envoy.admin.v3.Clusters.

import type { ClusterStatus, HostStatus, SimpleMetric } from '../../xds/gen/types.ts';
import { toJson } from '../../xds/json.ts';
import { CLUSTER_TYPE } from '../../xds/resource-types.ts';
import type { ClusterView, HostView } from '../data-plane.ts';
import { type AdminContext, type AdminResponse, addressOf, json, text } from './admin-context.ts';

export const clustersPage = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const wanted = clusterFilter(query.get('filter'));
  const clusters = [...context.dataPlane.clusters()].filter((c) => wanted(c.name));
  if (query.get('format') === 'json') {
    return json(toJson('envoy.admin.v3.Clusters', { cluster_statuses: clusters.map((c) => status(c, isDynamic(context, c))) }));
  }
  return text(clusters.map((c) => lines(c, isDynamic(context, c))).join(''));
};

const clusterFilter = (pattern: string | null): ((name: string) => boolean) => {
  if (!pattern) return () => true;
  try {
    const regex = new RegExp(pattern);
    return (name) => regex.test(name);
  } catch {
    return () => false;
  }
};

const isDynamic = ({ store }: AdminContext, c: ClusterView): boolean => !(store.record(CLUSTER_TYPE.url, c.name)?.isStatic ?? false);

const lines = (c: ClusterView, dynamic: boolean): string => {
  const { name } = c;
  let out = `${name}::observability_name::${c.config.alt_stat_name || name}\n`;
  for (const priority of ['default_priority', 'high_priority']) {
    const of = priority === 'default_priority' ? c.breakers.default.bounds : c.breakers.high.bounds;
    out += `${name}::${priority}::max_connections::${of.connectionsMax}\n${name}::${priority}::max_pending_requests::${of.pendingMax}\n`;
    out += `${name}::${priority}::max_requests::${of.requestsMax}\n${name}::${priority}::max_retries::${of.retriesMax}\n`;
  }
  out += `${name}::added_via_api::${dynamic}\n`;
  const service = c.config.eds_cluster_config?.service_name;
  if (service) out += `${name}::eds_service_name::${service}\n`;
  for (const host of c.hosts()) {
    const at = `${name}::${host.address}::`;
    for (const [stat, value] of hostStats(host)) out += `${at}${stat}::${value}\n`;
    out += `${at}hostname::${host.hostname}\n${at}health_flags::${healthFlags(host)}\n${at}weight::${host.weight}\n`;
    out += `${at}region::${host.locality?.region ?? ''}\n${at}zone::${host.locality?.zone ?? ''}\n${at}sub_zone::${host.locality?.sub_zone ?? ''}\n`;
    out += `${at}canary::false\n${at}priority::${host.priority}\n${at}success_rate::-1\n${at}local_origin_success_rate::-1\n`;
  }
  return out;
};

/** In Envoy's order (by name). */
const hostStats = ({ stats }: HostView): readonly (readonly [string, number])[] => [
  ['cx_active', stats.cxActive],
  ['cx_connect_fail', stats.cxConnectFail],
  ['cx_total', stats.cxTotal],
  ['rq_active', stats.rqActive],
  ['rq_error', stats.rqError],
  ['rq_success', stats.rqSuccess],
  ['rq_timeout', stats.rqTimeout],
  ['rq_total', stats.rqTotal],
];

const healthFlags = (host: HostView): string => {
  const { checks } = host;
  const flags = [
    checks.failed ? '/failed_active_hc' : '',
    host.ejected ? '/failed_outlier_check' : '',
    host.edsHealth === 'UNHEALTHY' || host.edsHealth === 'TIMEOUT' ? '/failed_eds_health' : '',
    checks.degraded ? '/degraded_active_hc' : '',
    host.edsHealth === 'DEGRADED' ? '/degraded_eds_health' : '',
    checks.leaving ? '/pending_dynamic_removal' : '',
    checks.pending ? '/pending_active_hc' : '',
    checks.excluded ? '/excluded_via_immediate_hc_fail' : '',
    checks.timedOut ? '/active_hc_timeout' : '',
    host.edsHealth === 'DRAINING' ? '/eds_status_draining' : '',
    checks.degradedByAnswer ? '/degraded_outlier_detection' : '',
  ].join('');
  return flags === '' ? 'healthy' : flags;
};

const thresholds = (bounds: ClusterView['breakers']['default']['bounds']) => ({
  max_connections: bounds.connectionsMax,
  max_pending_requests: bounds.pendingMax,
  max_requests: bounds.requestsMax,
  max_retries: bounds.retriesMax,
});

/** Those of envoy.admin.v3.HostHealthStatus that are set. */
const checkStatus = ({ checks }: HostView): Partial<NonNullable<HostStatus['health_status']>> => ({
  ...(checks.failed ? { failed_active_health_check: true } : {}),
  ...(checks.degraded ? { failed_active_degraded_check: true } : {}),
  ...(checks.leaving ? { pending_dynamic_removal: true } : {}),
  ...(checks.pending ? { pending_active_hc: true } : {}),
  ...(checks.excluded ? { excluded_via_immediate_hc_fail: true } : {}),
  ...(checks.timedOut ? { active_hc_timeout: true } : {}),
});

const status = (c: ClusterView, dynamic: boolean): ClusterStatus => ({
  name: c.name,
  added_via_api: dynamic,
  host_statuses: [...c.hosts()].map(hostStatus),
  circuit_breakers: {
    thresholds: [thresholds(c.breakers.default.bounds), { priority: 'HIGH', ...thresholds(c.breakers.high.bounds) }],
  },
  observability_name: c.config.alt_stat_name || c.name,
  eds_service_name: c.config.eds_cluster_config?.service_name,
});

const hostStatus = (host: HostView): HostStatus => ({
  address: addressOf(host.address),
  stats: hostStats(host).map(
    ([name, value]): SimpleMetric => ({
      name,
      ...(value === 0 ? {} : { value }),
      ...(name.endsWith('_active') ? { type: 'GAUGE' } : {}),
    }),
  ),
  health_status: {
    eds_health_status: host.edsHealth === undefined || host.edsHealth === 'UNKNOWN' ? 'HEALTHY' : (host.edsHealth as 'HEALTHY'),
    ...(host.ejected ? { failed_outlier_check: true } : {}),
    ...checkStatus(host),
  },
  weight: host.weight,
  ...(host.hostname === '' ? {} : { hostname: host.hostname }),
  ...(host.priority === 0 ? {} : { priority: host.priority }),
  locality: host.locality ?? {},
});
