// Filters that change, answer or pace by configuration alone: header_mutation, set_metadata, health_check, the fault filter's pace.
import type { AnyMessage, HttpFilter, Route } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live, type Part } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const filter = (type: string, config: object): HttpFilter => ({ name: type, typed_config: { '@type': `${FILTERS}.${type}`, ...config } });
const MUTATION = 'header_mutation.v3.HeaderMutation';
const own = (mutations: object): { readonly [name: string]: AnyMessage } => ({
  [MUTATION]: { '@type': `${FILTERS}.header_mutation.v3.HeaderMutationPerRoute`, mutations },
});
const add = (key: string, value: string) => ({ append: { header: { key, value } } });
const parts = (filters: readonly HttpFilter[], more: Partial<Route> = {}, host: { readonly [name: string]: AnyMessage } = {}): Part[] => [
  cluster(staticCluster('echo', [echo.port])),
  listener(
    onLoopback(
      'in',
      hcm([], {
        route_config: {
          name: 'r',
          virtual_hosts: [
            {
              name: 'all',
              domains: ['*'],
              typed_per_filter_config: host,
              routes: [{ match: { prefix: '/' }, route: { cluster: 'echo' }, ...more }],
            },
          ],
        },
        http_filters: [...filters, ROUTER],
      }),
    ),
  ),
];
const looked = (...paths: readonly string[]): FieldCase['observe'] =>
  live(async ({ port }) => {
    const seen: string[] = [];
    for (const path of paths) {
      const { status, head, body } = await ask(port(), path);
      const lines = `${head}\n${body}`.split(/\r?\n/).filter((line) => /^(x-[a-z]:|GET )/.test(line));
      seen.push(`${status} ${lines.join(', ')}`);
    }
    return seen;
  });

const mutations: FieldCase = {
  name: 'header-mutations',
  start,
  parts: () =>
    parts(
      [
        filter(MUTATION, {
          mutations: {
            request_mutations: [add('x-a', 'filter')],
            response_mutations: [add('x-b', 'filter')],
            query_parameter_mutations: [
              { append: { record: { key: 'q', value: 'new' }, action: 'OVERWRITE_IF_EXISTS' } },
              { append: { record: { key: 'p', value: 'more' } } },
              { remove: 'gone' },
            ],
          },
          most_specific_header_mutations_wins: true,
        }),
      ],
      { typed_per_filter_config: own({ request_mutations: [add('x-a', 'route')], response_mutations: [add('x-b', 'route')] }) },
      own({ request_mutations: [add('x-a', 'host')], response_mutations: [add('x-b', 'host')] }),
    ),
  observe: looked('/?q=old&gone=1', '/'),
  expect: [
    '200 x-b: filter, x-b: host, x-b: route, GET /?p=more&q=new HTTP/1.1, x-a: filter, x-a: host, x-a: route',
    '200 x-b: filter, x-b: host, x-b: route, GET /?p=more HTTP/1.1, x-a: filter, x-a: host, x-a: route',
  ],
};

const metadata: FieldCase = {
  name: 'metadata-set',
  start,
  parts: () =>
    parts([
      filter('set_metadata.v3.Config', { metadata_namespace: 'old', value: { a: 'one' } }),
      filter('set_metadata.v3.Config', {
        metadata: [
          { metadata_namespace: 'old', value: { b: 'two' }, allow_overwrite: true },
          { metadata_namespace: 'new', value: { c: 'three' } },
        ],
      }),
      filter(MUTATION, {
        mutations: { request_mutations: [add('x-a', '%DYNAMIC_METADATA(old)%'), add('x-b', '%DYNAMIC_METADATA(new:c)%')] },
      }),
    ]),
  observe: looked('/'),
  expect: ['200 GET / HTTP/1.1, x-a: {"a":"one","b":"two"}, x-b: three'],
};

const health: FieldCase = {
  name: 'health-check-answers',
  start,
  parts: () =>
    parts([
      filter('health_check.v3.HealthCheck', {
        pass_through_mode: false,
        headers: [{ name: ':path', string_match: { exact: '/fails' } }],
        cluster_min_healthy_percentages: { none: { value: 50 } },
      }),
      filter('health_check.v3.HealthCheck', {
        pass_through_mode: true,
        headers: [{ name: ':path', string_match: { prefix: '/kept' } }],
        cache_time: '60s',
      }),
    ]),
  observe: looked('/fails', '/kept', '/kept', '/other'),
  expect: ['503 ', '200 GET /kept HTTP/1.1', '200 ', '200 GET /other HTTP/1.1'],
};

const pace: FieldCase = {
  name: 'fault-pace',
  start,
  parts: () =>
    parts([
      filter('fault.v3.HTTPFault', { response_rate_limit: { fixed_limit: { limit_kbps: 1 }, percentage: { numerator: 100 } } }),
      filter('fault.v3.HTTPFault', {
        response_rate_limit: { header_limit: {}, percentage: { numerator: 100 } },
        headers: [{ name: ':path', string_match: { exact: '/asked' } }],
      }),
    ]),
  observe: live(async ({ port, plane }) => {
    const long = `x-a: ${'a'.repeat(400)}`;
    const times: string[] = [];
    for (const path of ['/', '/asked']) {
      const start = performance.now();
      await ask(port(), path, { headers: [long, 'x-envoy-fault-throughput-response: 900'] });
      times.push(performance.now() - start > 250 ? 'slow' : 'fast');
    }
    return [...times, plane.stats.find('http.test.fault.response_rl_injected')?.value];
  }),
  expect: ['slow', 'fast', 3],
};

export const HTTP_MUTATION_CASES: readonly FieldCase[] = [mutations, metadata, health, pace];
