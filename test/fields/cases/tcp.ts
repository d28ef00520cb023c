// Connections that are not HTTP: tcp_proxy, the network filters before it, PROXY protocol on both sides.
import type { Cluster, Listener, Listener_Filter, TcpProxy } from '../../../src/xds/gen/types.ts';
import { type Backend, chains, listener as onLoopback, RawClient, startBackend, staticCluster, tcpProxy } from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live } from '../case.ts';

let echo: Backend;
/** Answers with what it got, behind its own mark. */
const start = async () => {
  echo = await startBackend((socket, text) => socket.write(Buffer.from(text, 'latin1')));
  return echo;
};
const ANSWER_MS = 1_000;

/** What comes back within a second, and whether the connection ends. */
const say = async (port: number, text: string | Buffer, bytes: number): Promise<string> => {
  const client = await RawClient.open(port);
  const timer = setTimeout(() => client.close(), ANSWER_MS);
  try {
    return await client.send(text).bytes(bytes);
  } catch {
    return 'ended';
  } finally {
    clearTimeout(timer);
    client.close();
  }
};
const endsSoon = async (port: number, text: string): Promise<string> => {
  const client = await RawClient.open(port);
  const from = performance.now();
  const timer = setTimeout(() => client.close(), ANSWER_MS);
  const rest = await client.send(text).rest();
  clearTimeout(timer);
  client.close();
  return `${rest} ${performance.now() - from < ANSWER_MS * 0.9 ? 'ends' : 'stays'}`;
};

const tcp = (
  name: string,
  more: Partial<TcpProxy>,
  observe: (at: LivePlane) => Promise<unknown>,
  expect: unknown,
  around: {
    before?: readonly Listener_Filter[];
    listener?: Partial<Listener>;
    clusters?: () => readonly Cluster[];
    random?: () => number;
  } = {},
): FieldCase => ({
  name,
  start,
  parts: () => [
    ...(around.clusters?.() ?? [staticCluster('echo', [echo.port])]).map(cluster),
    listener(chains('in', [{ filters: [...(around.before ?? []), tcpProxy('echo', more)] }], around.listener)),
  ],
  observe: live(observe, () => (around.random === undefined ? {} : { random: around.random })),
  expect,
});

export const tcpForwards = tcp('tcp-proxy', {}, ({ port }) => say(port(), 'hello', 5), 'hello');
export const tcpIdle = tcp('tcp-idle', { idle_timeout: '0.05s' }, ({ port }) => endsSoon(port(), 'x'), 'x ends');
export const tcpDuration = tcp(
  'tcp-duration',
  { max_downstream_connection_duration: '0.4s', max_downstream_connection_duration_jitter_percentage: { value: 50 } },
  async ({ port }) => {
    const from = performance.now();
    await endsSoon(port(), 'x');
    const took = performance.now() - from;
    return took > 500 && took < 850;
  },
  true,
  { random: () => 0.9 },
);
export const tcpWeights: FieldCase = {
  name: 'tcp-weights',
  start,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    cluster(staticCluster('none', [])),
    listener(
      onLoopback('in', {
        name: 'tcp',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
          stat_prefix: 'tcp',
          weighted_clusters: {
            clusters: [
              { name: 'none', weight: 4 },
              { name: 'echo', weight: 6 },
            ],
          },
        },
      }),
    ),
  ],
  observe: live(
    ({ port }) => say(port(), 'hello', 5),
    () => ({ random: () => 0.5 }),
  ),
  expect: 'hello',
};

const DEAD = 1;
export const tcpAttempts = tcp(
  'tcp-attempts',
  { max_connect_attempts: 2, backoff_options: { base_interval: '0.2s', max_interval: '0.2s' } },
  async ({ port }) => {
    const from = performance.now();
    const answer = await say(port(), 'hello', 5);
    return [answer, performance.now() - from > 100];
  },
  ['hello', true],
  { clusters: () => [staticCluster('echo', [DEAD, echo.port])], random: () => 0.9 },
);

const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network';

export const connectionLimit = tcp(
  'connection-limit',
  {},
  async ({ port, plane }) => {
    const first = await RawClient.open(port());
    await first.send('a').bytes(1);
    const from = performance.now();
    const second = await endsSoon(port(), 'b');
    const waited = performance.now() - from > 80;
    first.close();
    return [second, waited, plane.stats.counter('connection_limit.few.limited_connections').value];
  },
  [' ends', true, 1],
  {
    before: [
      {
        name: 'limit',
        typed_config: {
          '@type': `${NETWORK}.connection_limit.v3.ConnectionLimit`,
          stat_prefix: 'few',
          max_connections: 1,
          delay: '0.1s',
          runtime_enabled: { default_value: true },
        },
      },
    ],
  },
);
export const connectionLimitOff = tcp(
  'connection-limit-off',
  {},
  async ({ port }) => {
    const first = await RawClient.open(port());
    await first.send('a').bytes(1);
    const second = await say(port(), 'b', 1);
    first.close();
    return second;
  },
  'b',
  {
    before: [
      {
        name: 'limit',
        typed_config: {
          '@type': `${NETWORK}.connection_limit.v3.ConnectionLimit`,
          stat_prefix: 'few',
          max_connections: 1,
          runtime_enabled: { default_value: false },
        },
      },
    ],
  },
);

export const filterState = tcp('filter-state', { cluster: 'none' }, ({ port }) => say(port(), 'hello', 5), 'hello', {
  clusters: () => [staticCluster('echo', [echo.port]), staticCluster('none', [])],
  before: [
    {
      name: 'state',
      typed_config: {
        '@type': `${NETWORK}.set_filter_state.v3.Config`,
        on_new_connection: [
          { object_key: 'name', factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: 'echo' } } },
          {
            object_key: 'envoy.tcp_proxy.cluster',
            format_string: { text_format_source: { inline_string: '%FILTER_STATE(name:PLAIN)%' } },
          },
          { object_key: 'envoy.tcp_proxy.cluster', skip_if_empty: true, format_string: { text_format_source: { inline_string: '' } } },
        ],
      },
    },
  ],
});

export const directAnswer: FieldCase = {
  name: 'tcp-direct-response',
  parts: () => [
    listener(
      onLoopback('in', {
        name: 'direct',
        typed_config: { '@type': `${NETWORK}.direct_response.v3.Config`, response: { inline_string: 'at once' } },
      }),
    ),
  ],
  observe: live(({ port }) => endsSoon(port(), '')),
  expect: 'at once ends',
};

const PROXIED = 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';
const V2_HEAD = '\r\n\r\n\0\r\nQUIT\n';
/** With the TLVs 0xae (ab) and 0xee (c). */
const V2 = Buffer.from(`${V2_HEAD}\x21\x11\x00\x15\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\xe0\x00\x02ab\xee\x00\x01c`, 'latin1');
const V2_BYTES = V2.length;

const upstreamProxied = (config: object): Partial<Cluster> => ({
  transport_socket: {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
      config,
      transport_socket: {
        name: 'envoy.transport_sockets.raw_buffer',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer' },
      },
    },
  },
});

export const proxyProtocolPassed = tcp(
  'proxy-protocol-passed',
  {},
  async ({ port }) => (await say(port(), Buffer.concat([V2, Buffer.from('hi')]), V2_BYTES - 4 + 2)).slice(12).replaceAll('\0', '.'),
  `\x21\x11.\x11\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\xe0.\x02abhi`,
  {
    clusters: () => [
      staticCluster(
        'echo',
        [echo.port],
        upstreamProxied({ version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [0xe0] } }),
      ),
    ],
    listener: {
      listener_filters: [
        {
          name: 'proxy',
          typed_config: { '@type': PROXIED, pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [0xe0, 0xee] } },
        },
      ],
    },
  },
);

export const proxyProtocolOptional = tcp(
  'proxy-protocol-optional',
  {},
  async ({ port, plane }) => [
    await say(port(), 'hello', 5),
    await say(port(), 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nhello', 5),
    plane.stats.counter('proxy_proto.here.versions.v1.disallowed').value,
  ],
  ['hello', 'ended', 1],
  {
    listener: {
      listener_filters: [
        {
          name: 'proxy',
          typed_config: { '@type': PROXIED, allow_requests_without_proxy_protocol: true, disallowed_versions: ['V1'], stat_prefix: 'here' },
        },
      ],
    },
  },
);

const inSubset = (labels: object) => ({ filter_metadata: { 'envoy.lb': labels } }) as NonNullable<TcpProxy['metadata_match']>;
let sides: readonly Backend[] = [];
/** A server of version 1 and one of version 2, which say so. */
const startSides = async () => {
  sides = await Promise.all(['1', '2'].map((side) => startBackend((socket) => socket.end(side))));
  return {
    [Symbol.asyncDispose]: async () => {
      for (const side of sides) await side[Symbol.asyncDispose]();
    },
  };
};
const versions = (): Cluster => ({
  name: 'versions',
  lb_subset_config: { subset_selectors: [{ keys: ['v'] }] },
  load_assignment: {
    cluster_name: 'versions',
    endpoints: [
      {
        lb_endpoints: sides.map(({ port }, i) => ({
          endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
          metadata: inSubset({ v: String(i + 1) }),
        })),
      },
    ],
  },
});
export const tcpSubsets: FieldCase = {
  name: 'tcp-subsets',
  start: startSides,
  parts: () => [
    cluster(versions()),
    listener(onLoopback('all', tcpProxy('versions', { metadata_match: inSubset({ v: '2' }) }))),
    listener(
      onLoopback('weighted', {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
          stat_prefix: 'weighted',
          metadata_match: inSubset({ v: '1' }),
          weighted_clusters: { clusters: [{ name: 'versions', weight: 1, metadata_match: inSubset({ v: '2' }) }] },
        },
      }),
    ),
  ],
  observe: live(async ({ port }) => [
    await say(port('all'), 'a', 1),
    await say(port('all'), 'a', 1),
    await say(port('weighted'), 'a', 1),
    await say(port('weighted'), 'a', 1),
  ]),
  expect: ['2', '2', '2', '2'],
};
