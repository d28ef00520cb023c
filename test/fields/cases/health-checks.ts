// What is asked of hosts, how often, and what an answer does to them. Each run has a host of its own.
import type { Cluster, HealthCheck, LbEndpoint } from '../../../src/xds/gen/types.ts';
import { type Backend, httpBackend, startBackend } from '../../proxy/harness.ts';
import { cluster, type FieldCase, live, type Part } from '../case.ts';

/** Stands for the port of the run's host. */
const PORT = 9;
const OFTEN: HealthCheck = { timeout: '1s', interval: '0.03s', no_traffic_interval: '0.03s', unhealthy_threshold: 1, healthy_threshold: 1 };
const GOOD = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

interface Seen {
  readonly heads: readonly string[];
  readonly backend: Backend;
  readonly state: string;
}
const checks = (
  name: string,
  check: HealthCheck,
  answer: (n: number, head: string) => string,
  look: (seen: Seen) => unknown,
  expect: unknown,
  more: { afterMs?: number; endpoint?: Partial<LbEndpoint['endpoint']>; cluster?: Partial<Cluster>; raw?: boolean } = {},
): FieldCase => ({
  name,
  parts: () => [
    cluster({
      name: 'c',
      health_checks: [{ ...OFTEN, ...check }],
      load_assignment: {
        cluster_name: 'c',
        endpoints: [
          { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: PORT } }, ...more.endpoint } }] },
        ],
      },
      ...more.cluster,
    }),
  ],
  observe: async (parts) => {
    const heads: string[] = [];
    let n = 0;
    await using backend = more.raw
      ? await startBackend((socket, text) => {
          heads.push(text);
          socket.write(answer(n++, text));
        })
      : await httpBackend((_, head) => {
          heads.push(head);
          return answer(n++, head);
        });
    const here = JSON.parse(JSON.stringify(parts).replaceAll(`"port_value":${PORT}`, `"port_value":${backend.port}`)) as readonly Part[];
    return await live(async ({ plane }) => {
      await new Promise((resolve) => setTimeout(resolve, more.afterMs ?? 200));
      const [host] = [...plane.clusters()].flatMap((c) => [...c.hosts()]);
      const state = Object.entries(host?.checks ?? {})
        .filter(([, set]) => set)
        .map(([flag]) => flag)
        .join();
      return look({ heads, backend, state });
    })(here);
  },
  expect,
});

export const healthQuestion = checks(
  'health-question',
  {
    reuse_connection: false,
    http_health_check: {
      path: '/asked',
      host: 'named.test',
      method: 'PUT',
      send: { text: '616263' },
      request_headers_to_add: [{ header: { key: 'x-q', value: 'v' } }],
      request_headers_to_remove: ['user-agent'],
    },
  },
  () => GOOD,
  ({ heads, backend, state }) => [heads[0], backend.received[0]?.endsWith('abc'), backend.sockets.length > 1, state],
  ['PUT /asked HTTP/1.1\r\nhost: named.test\r\ncontent-length: 3\r\nx-q: v', true, true, ''],
);
const answering = (
  name: string,
  check: HealthCheck['http_health_check'],
  answer: string,
  state: string,
  more: HealthCheck = {},
): FieldCase =>
  checks(
    name,
    { ...more, http_health_check: { path: '/', ...check } },
    () => answer,
    (seen) => seen.state,
    state,
  );
export const healthStatuses = answering(
  'health-statuses',
  { expected_statuses: [{ start: 418, end: 419 }] },
  'HTTP/1.1 418 Tea\r\ncontent-length: 0\r\n\r\n',
  '',
);
export const healthRetriable = checks(
  'health-retriable',
  { unhealthy_threshold: 1000, http_health_check: { path: '/', retriable_statuses: [{ start: 500, end: 505 }] } },
  (n) => (n === 0 ? GOOD : 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n'),
  ({ state }) => state,
  '',
);
export const healthBody = answering(
  'health-body',
  { receive: [{ text: '6f6b' }], response_buffer_size: 2 },
  'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nxxok',
  'failed',
);
export const healthService = answering('health-service', { service_name_matcher: { prefix: 'pay' } }, GOOD, 'failed');
export const healthTimeout = checks(
  'health-timeout',
  { timeout: '0.05s', http_health_check: { path: '/' } },
  () => 'silent',
  ({ state }) => state,
  'failed,timedOut',
);
export const healthOnce = checks(
  'health-interval',
  { interval: '60s', no_traffic_interval: '60s', http_health_check: { path: '/' } },
  () => GOOD,
  ({ heads }) => heads.length,
  1,
);
export const healthThreshold = checks(
  'health-threshold',
  { healthy_threshold: 1000, unhealthy_interval: '0.03s', http_health_check: { path: '/' } },
  (n) => (n === 0 ? 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n' : GOOD),
  ({ state }) => state,
  'failed',
);
export const healthTcp = checks(
  'health-tcp',
  { tcp_health_check: { send: { text: '70696e67' }, receive: [{ text: '706f6e67' }] } },
  () => 'pong',
  ({ heads, state }) => [heads[0]?.startsWith('ping'), state],
  [true, ''],
  { raw: true },
);
export const healthTcpBinary = checks(
  'health-tcp-wrong',
  { tcp_health_check: { receive: [{ text: '6e6f' }] } },
  () => 'pong',
  ({ state }) => state.startsWith('failed'),
  true,
  { raw: true, afterMs: 300, cluster: {} },
);
export const healthElsewhere = checks(
  'health-elsewhere',
  { http_health_check: { path: '/' } },
  () => GOOD,
  ({ heads, state }) => [heads.length > 0, heads[0]?.split('\r\n')[1], state],
  [true, 'host: check.test', ''],
  {
    endpoint: {
      health_check_config: { port_value: PORT, hostname: 'check.test' },
      address: { socket_address: { address: '127.0.0.1', port_value: 1 } },
    },
  },
);
export const healthDisabled = checks(
  'health-disabled',
  { http_health_check: { path: '/' } },
  () => GOOD,
  ({ heads }) => heads.length,
  0,
  { endpoint: { health_check_config: { disable_active_health_check: true } } },
);
