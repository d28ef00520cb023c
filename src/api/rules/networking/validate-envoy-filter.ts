// What Istio's webhook asks of an EnvoyFilter: every patch has a place, an operation and a value, and its match is about that place.

import { RE2JS } from 're2js';
import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { EnvoyFilter, EnvoyFilterMatch, EnvoyFilterPatch } from '../../specs.ts';
import { checkEnvoyValue } from '../../values/envoy-value.ts';
import { checkPort } from '../../values/host-name.ts';
import { checkSelector } from '../../values/label-text.ts';
import { warnZeros } from '../../values/zero-merge.ts';
import type { Check } from '../validate-context.ts';

type ApplyTo = NonNullable<EnvoyFilterPatch['applyTo']>;

export const checkEnvoyFilter: Check<EnvoyFilter> = (spec, path, findings) => {
  const targets = spec.targetRefs ?? [];
  if (spec.workloadSelector && spec.targetRefs) findings.error(path, 'only one of targetRefs or workloadSelector can be set');
  if (spec.workloadSelector) checkSelector(spec.workloadSelector.labels, child(path, 'workloadSelector'), findings);
  for (const [index, ref] of targets.entries()) {
    const at = child(item(child(path, 'targetRefs'), index), 'namespace');
    if (ref.namespace) findings.error(at, 'cross namespace referencing is not currently supported');
  }
  for (const [index, patch] of (spec.configPatches ?? []).entries()) checkPatch(patch, item(child(path, 'configPatches'), index), findings);
};

/** What a patch of each place is, or is a part of, and which match speaks of it. */
const places: Readonly<Record<ApplyTo, { readonly type: string; readonly match?: 'listener' | 'routeConfiguration' | 'cluster' }>> = {
  INVALID: { type: '' },
  LISTENER: { type: 'envoy.config.listener.v3.Listener', match: 'listener' },
  FILTER_CHAIN: { type: 'envoy.config.listener.v3.FilterChain', match: 'listener' },
  NETWORK_FILTER: { type: 'envoy.config.listener.v3.Filter', match: 'listener' },
  HTTP_FILTER: { type: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter', match: 'listener' },
  LISTENER_FILTER: { type: 'envoy.config.listener.v3.ListenerFilter' },
  ROUTE_CONFIGURATION: { type: 'envoy.config.route.v3.RouteConfiguration', match: 'routeConfiguration' },
  VIRTUAL_HOST: { type: 'envoy.config.route.v3.VirtualHost', match: 'routeConfiguration' },
  HTTP_ROUTE: { type: 'envoy.config.route.v3.Route', match: 'routeConfiguration' },
  CLUSTER: { type: 'envoy.config.cluster.v3.Cluster', match: 'cluster' },
  EXTENSION_CONFIG: { type: 'envoy.config.core.v3.TypedExtensionConfig' },
  BOOTSTRAP: { type: 'envoy.config.bootstrap.v3.Bootstrap' },
};

const checkPatch = (entry: EnvoyFilterPatch, path: string, findings: Findings): void => {
  const { applyTo = 'INVALID', match = {}, patch } = entry;
  if (applyTo === 'INVALID') findings.error(path, 'missing applyTo');
  if (!patch) findings.error(path, 'missing patch');
  else if ((patch.operation ?? 'INVALID') === 'INVALID') findings.error(child(path, 'patch'), 'missing patch operation');
  else if (patch.operation !== 'REMOVE' && !patch.value)
    findings.error(child(path, 'patch'), 'missing patch value for non-remove operation');
  checkMatch(match, applyTo, child(path, 'match'), findings);
  if (!patch?.value || applyTo === 'INVALID') return;
  checkEnvoyValue(places[applyTo].type, patch.value, below(path, 'patch.value'), findings);
  if (patch.operation !== 'MERGE' && patch.operation !== 'MERGE_AND_REPLACE_LIST') return;
  warnZeros(places[applyTo].type, patch.value, below(path, 'patch.value'), findings);
  if (applyTo === 'CLUSTER' || applyTo === 'FILTER_CHAIN') warnBesideSocket(applyTo, patch.value, below(path, 'patch.value'), findings);
};

const SOCKET: readonly string[] = ['transport_socket', 'transportSocket'];

const warnBesideSocket = (applyTo: ApplyTo, value: Readonly<Record<string, unknown>>, path: string, findings: Findings): void => {
  const names = Object.keys(value);
  if (!names.some((name) => SOCKET.includes(name))) return;
  for (const name of names.filter((n) => !SOCKET.includes(n))) {
    const where = applyTo === 'CLUSTER' ? '' : ' where the chain has one of that name';
    const message = `${name}: has no effect${where}, as in Istio: of a patch with a transport socket nothing else is merged`;
    findings.add('warning', 'FIELD_NOT_YET_EFFECTIVE', child(path, name), message, 'write it as a patch of its own');
  }
};

const checkMatch = (match: EnvoyFilterMatch, applyTo: ApplyTo, path: string, findings: Findings): void => {
  const version = match.proxy?.proxyVersion ?? '';
  if (version !== '') findings.unless(below(path, 'proxy.proxyVersion'), checkExpression(version));
  const { waypoint, listener } = match;
  if ((match.context === 'WAYPOINT') !== (waypoint !== undefined))
    findings.error(path, 'a waypoint match goes with context WAYPOINT, and only with it');
  if (waypoint?.portNumber !== undefined) findings.unless(below(path, 'waypoint.portNumber'), checkPort(waypoint.portNumber));
  const wanted = places[applyTo].match;
  const written = (['listener', 'routeConfiguration', 'cluster'] as const).find((name) => match[name] !== undefined);
  if (wanted && written && written !== wanted) findings.error(child(path, written), `applyTo ${applyTo} cannot have a match of ${written}`);
  const filter = listener?.filterChain?.filter;
  if (filter && wanted === 'listener') checkFilterMatch(filter, applyTo, below(path, 'listener.filterChain.filter'), findings);
};

const MANAGER = 'envoy.filters.network.http_connection_manager';
type FilterMatch = NonNullable<NonNullable<NonNullable<EnvoyFilterMatch['listener']>['filterChain']>['filter']>;

const checkFilterMatch = (filter: FilterMatch, applyTo: ApplyTo, path: string, findings: Findings): void => {
  if (applyTo === 'LISTENER' || applyTo === 'FILTER_CHAIN') findings.warn(path, `filter match has no effect when used with ${applyTo}`);
  const { name = '', subFilter } = filter;
  if (name === '') findings.error(path, 'filter match has no name to match on');
  else if (subFilter && applyTo !== 'HTTP_FILTER')
    findings.error(child(path, 'subFilter'), 'subfilter match can be used with applyTo HTTP_FILTER only');
  else if (subFilter && name !== MANAGER && name !== 'envoy.http_connection_manager')
    findings.error(child(path, 'name'), `subfilter match requires filter match with ${MANAGER}`);
  else if (subFilter && !subFilter.name) findings.error(child(path, 'subFilter'), 'subfilter match has no name to match on');
  warnOldName(name, child(path, 'name'), findings);
  if (subFilter?.name) warnOldName(subFilter.name, below(path, 'subFilter.name'), findings);
};

const http = [
  ...['buffer', 'cors', 'csrf', 'ext_authz', 'fault', 'grpc_http1_bridge', 'grpc_json_transcoder', 'grpc_web', 'gzip'],
  ...['health_check', 'ip_tagging', 'lua', 'router', 'squash'],
];
const network = ['client_ssl_auth', 'http_connection_manager', 'mongo_proxy', 'ratelimit', 'redis_proxy', 'tcp_proxy'];
const listener = ['http_inspector', 'original_dst', 'original_src', 'proxy_protocol', 'tls_inspector'];

/** Names before filters were put into folders: `envoy.router` for `envoy.filters.http.router`. */
const oldNames: ReadonlyMap<string, string> = new Map([
  ...network.map((name) => [`envoy.${name}`, `envoy.filters.network.${name}`] as const),
  ...http.map((name) => [`envoy.${name}`, `envoy.filters.http.${name}`] as const),
  ...listener.map((name) => [`envoy.listener.${name}`, `envoy.filters.listener.${name}`] as const),
  ['envoy.rate_limit', 'envoy.filters.http.ratelimit'],
  ['envoy.http_dynamo_filter', 'envoy.filters.http.dynamo'],
]);

const warnOldName = (name: string, path: string, findings: Findings): void => {
  const now = oldNames.get(name);
  if (now !== undefined) findings.warn(path, `using deprecated filter name ${JSON.stringify(name)}`, `write ${JSON.stringify(now)}`);
};

const checkExpression = (text: string): string | undefined => {
  try {
    RE2JS.compile(text);
    return undefined;
  } catch (error) {
    return `invalid regex for proxy version: ${error instanceof Error ? error.message : String(error)}`;
  }
};
