// What a request, or its route in its name, asks of the router beside the route's own policies; a stock Envoy, where there is one, agrees.
import type { HeaderValueOption, HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { routingTables } from './routing-rig.ts';

const INTERNAL: Partial<HttpConnectionManager> = {
  use_remote_address: true,
  internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
};
const set = (key: string, value: string): HeaderValueOption => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' });

routingTables([
  {
    name: 'internal clients may ask how long an attempt runs, and not to be told of a time-out',
    hcm: INTERNAL,
    routes: [
      { match: { prefix: '/try' }, route: { cluster: 'c', retry_policy: { retry_on: '5xx', num_retries: 0, per_try_timeout: '0.2s' } } },
      { match: { prefix: '/' }, route: { cluster: 'c', timeout: '0.3s' } },
    ],
    seen: ['x-envoy-upstream-stream-duration-ms', 'x-envoy-upstream-rq-timeout-alt-response'],
    rows: {
      'GET /\nx-envoy-upstream-stream-duration-ms: 100\nx-plan: silent':
        '504 upstream max stream duration reached x1 UMSDR upstream_max_stream_duration_reached [ ]',
      'GET /\nx-envoy-upstream-rq-timeout-alt-response: 1\nx-plan: silent': '204 x1 UT response_timeout [ ]',
      'GET /try\nx-envoy-upstream-rq-timeout-alt-response: 1\nx-plan: silent': '204 x1 URX,UT upstream_per_try_timeout [ ]',
    },
  },
  {
    name: 'outside clients may not',
    hcm: { use_remote_address: true },
    routes: [{ match: { prefix: '/' }, route: { cluster: 'c', timeout: '0.3s' } }],
    seen: ['x-envoy-upstream-stream-duration-ms', 'x-envoy-original-url', 'x-envoy-original-path', 'x-envoy-original-host'],
    rows: {
      'GET /\nx-envoy-upstream-stream-duration-ms: 100\nx-envoy-original-url: u\nx-envoy-original-path: p\nx-envoy-original-host: h\nx-plan: silent':
        '504 upstream request timeout x1 UT response_timeout [   ]',
    },
  },
  {
    name: 'what another proxy said of the original path stays inside',
    routes: [{ match: { prefix: '/' }, route: { cluster: 'c' } }],
    seen: ['x-envoy-original-url', 'x-envoy-original-path', 'x-envoy-original-host'],
    rows: {
      'GET /\nx-envoy-original-url: u\nx-envoy-original-path: /p\nx-envoy-original-host: h': '200 n0 x1 via_upstream [ /p h]',
    },
  },
  {
    name: 'a route asks for attempts by headers',
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        request_headers_to_add: [set('x-envoy-retry-on', '5xx'), set('x-envoy-max-retries', '2')],
      },
    ],
    seen: ['x-envoy-retry-on', 'x-envoy-max-retries'],
    rows: { 'GET /\nx-plan: 503|503|200': '200 n2 x3 via_upstream [ ] [ ] [ ]' },
  },
  {
    name: 'a handshake of WebSocket is answered in time',
    hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
    routes: [
      {
        match: { prefix: '/try' },
        route: { cluster: 'c', retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.1s' } },
      },
      { match: { prefix: '/' }, route: { cluster: 'c', timeout: '0.2s' } },
    ],
    shows: ['x-of-the-server', 'x-envoy-upstream-service-time'],
    rows: {
      'GET /\nconnection: upgrade\nupgrade: websocket\nx-plan: silent': '504 upstream request timeout x1 UT response_timeout',
      'GET /try\nconnection: upgrade\nupgrade: websocket\nx-plan: silent':
        '504 upstream request timeout x2 URX,UT upstream_per_try_timeout',
      'GET /\nconnection: upgrade\nupgrade: websocket\nx-plan: 200;x-of-the-server=1':
        '200 x1 websocket_handshake_unsuccessful x-of-the-server=1',
      'GET /\nconnection: upgrade\nupgrade: websocket\nx-plan: 503;x-of-the-server=1': '503 n0 x1 via_upstream x-of-the-server=1',
    },
  },
  {
    name: 'what is added to a header of one line stands behind a comma',
    routes: [
      {
        match: { prefix: '/' },
        route: { cluster: 'c' },
        request_headers_to_add: [
          { header: { key: 'user-agent', value: 'b' } },
          { header: { key: 'x-many', value: 'b' } },
          { header: { key: 'x-forwarded-proto', value: 'b' } },
        ],
        response_headers_to_add: [{ header: { key: 'cache-control', value: 'b' } }],
      },
    ],
    seen: ['user-agent', 'x-many', 'x-forwarded-proto'],
    shows: ['cache-control'],
    rows: {
      'GET /\nuser-agent: a\nx-many: a\nx-plan: 200;cache-control=a': '200 n0 x1 via_upstream cache-control=a,b [a,b a,b http,b]',
    },
  },
]);
