// HTTP filters: CORS and fault injection, per route and in the chain.
import type { AnyMessage, HttpFilter, Route } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const to = (prefix: string, typed: { readonly [name: string]: AnyMessage } = {}): Route => ({
  match: { prefix },
  route: { cluster: 'echo' },
  typed_per_filter_config: typed,
});
const chain = (filters: readonly HttpFilter[], routes: readonly Route[]) => [
  cluster(staticCluster('echo', [echo.port])),
  listener(onLoopback('in', hcm(routes, { http_filters: [...filters, ROUTER] }))),
];

const policy = (more: object): { readonly [name: string]: AnyMessage } => ({
  'envoy.filters.http.cors': { '@type': `${FILTERS}.cors.v3.CorsPolicy`, ...more },
});
const all = { allow_origin_string_match: [{ exact: 'http://a.test' }] };

export const cors: FieldCase = {
  name: 'cors',
  start,
  parts: () =>
    chain(
      [{ name: 'envoy.filters.http.cors', typed_config: { '@type': `${FILTERS}.cors.v3.Cors` } }],
      [
        to(
          '/all',
          policy({
            ...all,
            allow_methods: 'GET',
            allow_headers: 'x-a',
            expose_headers: 'x-b',
            max_age: '60',
            allow_credentials: true,
            allow_private_network_access: true,
            forward_not_matching_preflights: false,
          }),
        ),
        to('/off', policy({ ...all, filter_enabled: { default_value: { numerator: 0 } } })),
        to('/rarely', policy({ ...all, filter_enabled: { default_value: { numerator: 100, denominator: 'TEN_THOUSAND' } } })),
        to('/often', policy({ ...all, filter_enabled: { default_value: { numerator: 60 } } })),
      ],
    ),
  observe: live(
    async ({ port }) => {
      const seen: string[] = [];
      const look = async (path: string, origin: string, method: string): Promise<void> => {
        const headers = [
          `origin: ${origin}`,
          ...(method === 'OPTIONS' ? ['access-control-request-method: GET', 'access-control-request-private-network: true'] : []),
        ];
        const answer = await ask(port(), path, { method, headers });
        const own = answer.head.split('\n').filter((line) => line.startsWith('access-control-'));
        seen.push(
          `${path} ${method} ${answer.body === '' ? 'answered' : 'forwarded'} ${own
            .map((l) => l.slice('access-control-'.length))
            .sort()
            .join(', ')}`,
        );
      };
      await look('/all', 'http://a.test', 'OPTIONS');
      await look('/all', 'http://a.test', 'GET');
      await look('/all', 'http://b.test', 'OPTIONS');
      await look('/off', 'http://a.test', 'GET');
      await look('/rarely', 'http://a.test', 'GET');
      await look('/often', 'http://a.test', 'GET');
      return seen;
    },
    () => ({ random: () => 0.5 }),
  ),
  expect: [
    '/all OPTIONS answered allow-credentials: true, allow-headers: x-a, allow-methods: GET, allow-origin: http://a.test, allow-private-network: true, expose-headers: x-b, max-age: 60',
    '/all GET forwarded allow-credentials: true, allow-origin: http://a.test, expose-headers: x-b',
    '/all OPTIONS answered ',
    '/off GET forwarded ',
    '/rarely GET forwarded ',
    '/often GET forwarded allow-origin: http://a.test',
  ],
};

const fault = (more: object): AnyMessage => ({ '@type': `${FILTERS}.fault.v3.HTTPFault`, ...more });
const faulty = (more: object): { readonly [name: string]: AnyMessage } => ({ 'envoy.filters.http.fault': fault(more) });

export const faults: FieldCase = {
  name: 'fault',
  start,
  parts: () =>
    chain(
      [
        {
          name: 'envoy.filters.http.fault',
          typed_config: fault({
            abort: { http_status: 418, percentage: { numerator: 100 } },
            headers: [{ name: 'x-tea', present_match: true }],
          }),
        },
      ],
      [
        to('/delay', faulty({ delay: { fixed_delay: '0.4s', percentage: { numerator: 100 } } })),
        to('/rare', faulty({ abort: { http_status: 503, percentage: { numerator: 100, denominator: 'TEN_THOUSAND' } } })),
        to('/grpc', faulty({ abort: { grpc_status: 14, percentage: { numerator: 100 } } })),
        to('/cluster', faulty({ upstream_cluster: 'other', abort: { http_status: 503, percentage: { numerator: 100 } } })),
        to('/'),
      ],
    ),
  observe: live(
    async ({ port }) => {
      const from = performance.now();
      const delayed = await ask(port(), '/delay');
      const took = performance.now() - from;
      const grpc = await ask(port(), '/grpc', { method: 'POST', headers: ['content-type: application/grpc', 'content-length: 0'] });
      return [
        delayed.status,
        took > 380,
        (await ask(port(), '/rare')).status,
        grpc.headers.get('grpc-status'),
        (await ask(port(), '/cluster')).status,
        (await ask(port(), '/', { headers: ['x-tea: 1'] })).status,
        (await ask(port(), '/')).status,
      ];
    },
    () => ({ random: () => 0.5 }),
  ),
  expect: [200, true, 200, '14', 200, 418, 200],
};

export const filterSwitches: FieldCase = {
  name: 'filter-switches',
  start,
  parts: () =>
    chain(
      [
        {
          name: 'off',
          disabled: true,
          typed_config: fault({ abort: { http_status: 418, percentage: { numerator: 100 } } }),
        },
        {
          name: 'on',
          typed_config: fault({ abort: { http_status: 503, percentage: { numerator: 100 } } }),
        },
        { name: 'unknown', is_optional: true, typed_config: { type_url: 'type.googleapis.com/not.known', value: new Uint8Array() } },
      ],
      [
        to('/off', { on: { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true } }),
        to('/config', {
          on: {
            '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
            config: fault({ abort: { http_status: 404, percentage: { numerator: 100 } } }),
          },
        }),
        to('/optional', {
          nobody: {
            '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
            is_optional: true,
            config: { type_url: 'type.googleapis.com/not.known', value: new Uint8Array() },
          },
        }),
        to('/'),
      ],
    ),
  observe: live(async ({ port }) => [
    (await ask(port(), '/')).status,
    (await ask(port(), '/off')).status,
    (await ask(port(), '/config')).status,
  ]),
  expect: [503, 200, 404],
};
