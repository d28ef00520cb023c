// EnvoyFilter: place, operation, match and value of a patch go together, and the value is one of Envoy's messages.

import { test } from 'node:test';
import { refused, taken, warned } from './spec-verdicts.ts';

const patch = (block: string): string => `{configPatches: [{${block}}]}`;
const remove = 'patch: {operation: REMOVE}';
const value = (applyTo: string, json: string): string => patch(`applyTo: ${applyTo}, patch: {operation: MERGE, value: ${json}}`);

test('a patch has a place, an operation and a value', () => {
  taken('EnvoyFilter', '{}', patch(`applyTo: CLUSTER, ${remove}`), value('CLUSTER', '{connect_timeout: 1s}'), value('CLUSTER', '{}'));
  refused('EnvoyFilter', patch(remove), /configPatches\[0\]: missing applyTo/);
  refused('EnvoyFilter', patch('applyTo: CLUSTER'), /missing patch$/);
  refused('EnvoyFilter', patch('applyTo: CLUSTER, patch: {}'), /missing patch operation/);
  refused('EnvoyFilter', patch('applyTo: CLUSTER, patch: {operation: ADD}'), /missing patch value/);
});

test('what stands beside a merged transport socket has no effect, and is told of', () => {
  const socket =
    'transport_socket: {name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}';
  taken('EnvoyFilter', value('CLUSTER', `{${socket}}`));
  warned('EnvoyFilter', value('CLUSTER', `{${socket}, connect_timeout: 1s}`), /connect_timeout: has no effect/);
  warned('EnvoyFilter', value('FILTER_CHAIN', `{${socket}, name: x}`), /name: has no effect where the chain has one/);
  taken('EnvoyFilter', value('LISTENER', '{name: x}'));
});

test('what it is about', () => {
  const ref = '{kind: Gateway, name: a}';
  taken('EnvoyFilter', '{workloadSelector: {labels: {app: a}}}', `{targetRefs: [${ref}]}`);
  warned('EnvoyFilter', '{workloadSelector: {}}', /without labels/);
  refused('EnvoyFilter', `{workloadSelector: {labels: {app: a}}, targetRefs: [${ref}]}`, /only one of targetRefs or workloadSelector/);
  refused('EnvoyFilter', '{targetRefs: [{kind: Gateway, name: a, namespace: b}]}', /cross namespace/);
});

test('the match speaks of the place', () => {
  const match = (applyTo: string, block: string): string => patch(`applyTo: ${applyTo}, match: {${block}}, ${remove}`);
  const all = {
    listener: ['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER'],
    routeConfiguration: ['ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE'],
    cluster: ['CLUSTER'],
  };
  for (const [name, places] of Object.entries(all)) {
    for (const place of places) {
      taken('EnvoyFilter', match(place, `${name}: {}`), match(place, 'context: GATEWAY'));
      for (const other of Object.keys(all).filter((n) => n !== name))
        refused('EnvoyFilter', match(place, `${other}: {}`), new RegExp(`match\\.${other}: applyTo ${place} cannot have`));
    }
  }
  refused('EnvoyFilter', match('CLUSTER', 'cluster: {}, listener: {}'), /only one of|cannot have/);
});

test('filters are matched by name', () => {
  const filter = (applyTo: string, block: string): string =>
    patch(`applyTo: ${applyTo}, match: {listener: {filterChain: {filter: {${block}}}}}, ${remove}`);
  const manager = 'name: envoy.filters.network.http_connection_manager';
  taken(
    'EnvoyFilter',
    filter('HTTP_FILTER', `${manager}, subFilter: {name: envoy.filters.http.router}`),
    filter('NETWORK_FILTER', manager),
  );
  refused('EnvoyFilter', filter('HTTP_FILTER', ''), /no name to match on/);
  refused('EnvoyFilter', filter('NETWORK_FILTER', `${manager}, subFilter: {name: a}`), /with applyTo HTTP_FILTER only/);
  refused(
    'EnvoyFilter',
    filter('HTTP_FILTER', 'name: a, subFilter: {name: b}'),
    /requires filter match with envoy\.filters\.network\.http/,
  );
  refused('EnvoyFilter', filter('HTTP_FILTER', `${manager}, subFilter: {}`), /subfilter match has no name/);
  warned('EnvoyFilter', filter('LISTENER', manager), /no effect when used with LISTENER/);
  warned('EnvoyFilter', filter('NETWORK_FILTER', 'name: envoy.tcp_proxy'), /deprecated filter name "envoy\.tcp_proxy"/);
  warned('EnvoyFilter', filter('HTTP_FILTER', 'name: envoy.http_connection_manager, subFilter: {name: envoy.router}'), /"envoy\.router"/);
});

test('proxy versions are regular expressions, waypoints go with their context', () => {
  const match = (block: string): string => patch(`applyTo: HTTP_FILTER, match: {${block}}, ${remove}`);
  taken('EnvoyFilter', match("proxy: {proxyVersion: '^1\\.2[0-9].*'}"), match('context: WAYPOINT, waypoint: {portNumber: 80}'));
  refused('EnvoyFilter', match("proxy: {proxyVersion: '1.(2'}"), /proxyVersion: invalid regex/);
  refused('EnvoyFilter', match('waypoint: {}'), /goes with context WAYPOINT/);
  refused('EnvoyFilter', match('context: WAYPOINT, listener: {}'), /goes with context WAYPOINT/);
  refused('EnvoyFilter', match('context: WAYPOINT, waypoint: {portNumber: 0}'), /waypoint\.portNumber/);
});

test("values are Envoy's messages", () => {
  const any = (type: string, rest = ''): string => `{name: a, typed_config: {'@type': type.googleapis.com/${type}${rest}}}`;
  const ratelimit = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
  taken(
    'EnvoyFilter',
    value('HTTP_FILTER', any(ratelimit, ', stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 1s}')),
    value('HTTP_FILTER', any(ratelimit, ', statPrefix: a')),
    value('HTTP_FILTER', any('udpa.type.v1.TypedStruct', ', type_url: a/b, value: {x: 1}')),
    value('VIRTUAL_HOST', '{rate_limits: [{actions: [{remote_address: {}}]}]}'),
  );
  refused('EnvoyFilter', value('CLUSTER', '{name: false}'), /patch\.value\.name: wants string, has false/);
  refused('EnvoyFilter', value('CLUSTER', '{type: STATICAL}'), /value\.type: "STATICAL" is no value of/);
  refused('EnvoyFilter', value('CLUSTER', '{connect_timeout: 5}'), /connect_timeout: 5 is not a duration/);
  refused('EnvoyFilter', value('HTTP_FILTER', any(ratelimit, ', stat_prefix: 1')), /typed_config\.stat_prefix: wants string/);
  refused('EnvoyFilter', value('HTTP_FILTER', "{name: a, typed_config: {'@type': 5}}"), /"@type"/);
  refused('EnvoyFilter', value('HTTP_FILTER', any('envoy.config.filter.network.ext_authz.v2.ExtAuthz')), /referenced type unknown/);
  refused(
    'EnvoyFilter',
    value('HTTP_FILTER', any('example.Filter')),
    /typed_config\["@type"\]: referenced type unknown: "example\.Filter"/,
  );
});

test('every error of a value is told, and fields that no message has', () => {
  const many = '{name: 1, connect_timeout: 5, transport_socket_matches: [{name: a}, {name: 2}]}';
  for (const why of [/name: wants|connect_timeout: 5 is|matches\[1\]\.name: wants/]) refused('EnvoyFilter', value('CLUSTER', many), why);
  warned('EnvoyFilter', value('CLUSTER', '{conect_timeout: 1s}'), /value\.conect_timeout: no field of Envoy's message/);
  warned('EnvoyFilter', value('HTTP_FILTER', '{name: a}'), /without typed_config/);
  taken('EnvoyFilter', value('HTTP_FILTER', "{name: a, config_discovery: {type_urls: ['a/b']}}"));
});
