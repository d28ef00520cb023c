// Filters that change or answer requests by configuration alone: header_mutation, set_metadata, health_check. Each table holds for a stock
// Envoy too.
import type { AnyMessage, HttpFilter, Route } from '../../src/xds/gen/types.ts';
import { toCluster } from './harness.ts';
import { routingTables } from './routing-rig.ts';

const TYPES = 'type.googleapis.com/envoy.extensions.filters.http';
const filter = (name: string, type: string, config: object): HttpFilter => ({
  name,
  typed_config: { '@type': `${TYPES}.${type}`, ...config },
});
const mutation = (config: object): HttpFilter => filter('m', 'header_mutation.v3.HeaderMutation', config);
const perRoute = (mutations: object): { readonly [name: string]: AnyMessage } => ({
  m: { '@type': `${TYPES}.header_mutation.v3.HeaderMutationPerRoute`, mutations },
});
const append = (key: string, value: string, append_action?: string) => ({
  append: { header: { key, value }, ...(append_action === undefined ? {} : { append_action }) },
});
const query = (key: string, value: string, action?: string) => ({
  append: { record: { key, value }, ...(action === undefined ? {} : { action }) },
});
const at = (prefix: string, more: Partial<Route>): Route => ({ ...toCluster('c'), match: { prefix }, ...more });

const levels = (specificLast: boolean) => ({
  name: `header mutations of every level, ${specificLast ? 'the most specific last' : 'the most specific first'}`,
  filters: [
    mutation({
      mutations: { request_mutations: [append('x-l', 'filter')], response_mutations: [append('x-r', 'filter')] },
      most_specific_header_mutations_wins: specificLast,
    }),
  ],
  routes: [
    at('/own', {
      typed_per_filter_config: perRoute({ request_mutations: [append('x-l', 'route')], response_mutations: [append('x-r', 'route')] }),
    }),
    toCluster('c'),
  ],
  host: { typed_per_filter_config: perRoute({ request_mutations: [append('x-l', 'host')], response_mutations: [append('x-r', 'host')] }) },
  config: {
    typed_per_filter_config: perRoute({ request_mutations: [append('x-l', 'table')], response_mutations: [append('x-r', 'table')] }),
  },
  seen: ['x-l'],
  shows: ['x-r'],
});

routingTables([
  {
    name: 'header mutations happen in the order in which they are written',
    filters: [
      mutation({
        mutations: {
          request_mutations: [
            append('x-a', 'one'),
            append('x-a', 'two'),
            append('x-b', 'absent', 'ADD_IF_ABSENT'),
            append('x-c', 'over', 'OVERWRITE_IF_EXISTS_OR_ADD'),
            append('x-d', 'exists', 'OVERWRITE_IF_EXISTS'),
            append('x-e', '%REQ(x-in)%', 'OVERWRITE_IF_EXISTS_OR_ADD'),
            append('x-f', '%REQ(x-none)%'),
            append('x-g', 'gone'),
            { remove: 'x-g' },
            { remove: 'x-in' },
          ],
          response_mutations: [append('x-r', '%REQ(x-e)%-%RESPONSE_CODE%'), { remove: 'x-gone' }],
        },
      }),
    ],
    routes: [toCluster('c')],
    seen: ['x-a', 'x-b', 'x-c', 'x-d', 'x-e', 'x-f', 'x-g', 'x-in'],
    shows: ['x-r', 'x-gone'],
    rows: {
      'GET /': '200 n0 x1 via_upstream x-r=-200 [one,two absent over     ]',
      'GET /\nx-in: v\nx-a: zero\nx-b: b\nx-c: c\nx-d: d\nx-g: g': '200 n0 x1 via_upstream x-r=v-200 [zero,one,two b over exists v   ]',
      'GET /\nx-plan: 404;x-gone=1': '404 n0 x1 via_upstream x-r=-404 [one,two absent over     ]',
    },
  },
  {
    name: 'query parameters are changed',
    filters: [
      mutation({
        mutations: {
          query_parameter_mutations: [
            query('a', '1'),
            query('b', '2', 'ADD_IF_ABSENT'),
            query('c', '3', 'OVERWRITE_IF_EXISTS'),
            query('d', '%REQ(x-in)%', 'OVERWRITE_IF_EXISTS_OR_ADD'),
            { remove: 'e' },
          ],
        },
      }),
    ],
    routes: [toCluster('c')],
    seen: ['path'],
    rows: {
      'GET /p': '200 n0 x1 via_upstream [/p?a=1&b=2&d=]',
      'GET /p?a=0&b=0&c=0&d=0&e=0&z': '200 n0 x1 via_upstream [/p?a=0&a=1&b=0&c=3&d=&z=]',
      'GET /p?e=1\nx-in: v': '200 n0 x1 via_upstream [/p?a=1&b=2&d=v]',
    },
  },
  {
    ...levels(false),
    rows: {
      'GET /': '200 n0 x1 via_upstream x-r=table [filter,host,table]',
      'GET /own': '200 n0 x1 via_upstream x-r=table [filter,route,host,table]',
    },
  },
  {
    ...levels(true),
    rows: {
      'GET /': '200 n0 x1 via_upstream x-r=host [filter,table,host]',
      'GET /own': '200 n0 x1 via_upstream x-r=route [filter,table,host,route]',
    },
  },
  {
    name: 'header mutations of a local answer',
    filters: [mutation({ mutations: { response_mutations: [append('x-r', 'local')] } })],
    routes: [{ match: { prefix: '/' }, direct_response: { status: 403 } }],
    shows: ['x-r'],
    rows: { 'GET /': '403 x0 direct_response x-r=local' },
  },
  {
    name: 'metadata are set, kept and merged',
    filters: [
      filter('s1', 'set_metadata.v3.Config', {
        metadata: [
          { metadata_namespace: 'n', value: { a: 'one', l: [1], o: { x: 1 } } },
          { metadata_namespace: 'n', value: { a: 'kept' } },
          { metadata_namespace: 'm', value: { a: 'first' } },
        ],
      }),
      filter('s2', 'set_metadata.v3.Config', {
        metadata_namespace: 'n',
        value: { l: [2], z: true },
        metadata: [{ metadata_namespace: 'n', allow_overwrite: true, value: { o: { y: 'z' }, z: 'other kind' } }],
      }),
      mutation({
        mutations: { request_mutations: [append('x-n', '%DYNAMIC_METADATA(n)%'), append('x-m', '%DYNAMIC_METADATA(m:a)%')] },
      }),
    ],
    routes: [toCluster('c')],
    seen: ['x-m', 'x-n'],
    rows: { 'GET /': '200 n0 x1 via_upstream [first {"a":"one","l":[1,2],"o":{"x":1,"y":"z"},"z":"other kind"}]' },
  },
  {
    name: 'health checks are answered from what is known of clusters',
    filters: [
      filter('h1', 'health_check.v3.HealthCheck', {
        pass_through_mode: false,
        headers: [{ name: ':path', string_match: { exact: '/plain' } }],
      }),
      filter('h2', 'health_check.v3.HealthCheck', {
        pass_through_mode: false,
        headers: [{ name: ':path', string_match: { exact: '/fine' } }],
        cluster_min_healthy_percentages: { c: { value: 100 } },
      }),
      filter('h3', 'health_check.v3.HealthCheck', {
        pass_through_mode: false,
        headers: [{ name: ':path', string_match: { exact: '/missing' } }],
        cluster_min_healthy_percentages: { c: { value: 1 }, none: { value: 1 } },
      }),
    ],
    routes: [toCluster('c')],
    rows: {
      'GET /plain': '200 x0 health_check_ok',
      'POST /plain\n\nbody': '200 x0 health_check_ok',
      'GET /fine': '200 x0 health_check_ok_cluster_healthy',
      'GET /missing': '503 x0 LH health_check_failed_no_cluster_found',
      'GET /other': '200 n0 x1 via_upstream',
    },
  },
  {
    name: 'health checks that pass are remembered',
    filters: [
      filter('h', 'health_check.v3.HealthCheck', {
        pass_through_mode: true,
        cache_time: '60s',
        headers: [{ name: ':path', string_match: { prefix: '/check' } }],
      }),
    ],
    routes: [toCluster('c')],
    shows: ['x-envoy-upstream-healthchecked-cluster'],
    rows: {
      'GET /check\nx-plan: 503': '503 n0 x1 via_upstream x-envoy-upstream-healthchecked-cluster=',
      'GET /check/again': '503 x0 LH health_check_cached x-envoy-upstream-healthchecked-cluster=',
      'GET /other': '200 n0 x1 via_upstream',
    },
  },
]);
