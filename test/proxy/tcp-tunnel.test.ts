// tcp_proxy and the network filters around it, with the flags, reasons and closes that Envoy gives.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { Cluster, Listener, Listener_Filter } from '../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  eventually,
  listener,
  type Plane,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
} from './harness.ts';

const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network';
const filter = (type: string, config: object): Listener_Filter => ({
  name: type,
  typed_config: { '@type': `${NETWORK}.${type}`, ...config },
});
const limit = (config: object = {}): Listener_Filter =>
  filter('connection_limit.v3.ConnectionLimit', { stat_prefix: 'lim', max_connections: 1, ...config });

interface Entry {
  readonly type: string;
  readonly flags: string;
  readonly attempts: number;
  readonly received: number;
  readonly sent: number;
  readonly downstreamClose: string;
  readonly upstreamClose: string;
  readonly detected: string;
  readonly details: string;
  readonly cluster: string;
}
const entry = (info: StreamInfo): Entry => ({
  type: info.accessLogType,
  flags: info.flagsShort(),
  attempts: info.upstreamRequestAttemptCount,
  received: info.bytesReceived,
  sent: info.bytesSent,
  downstreamClose: info.downstreamLocalCloseReason,
  upstreamClose: info.upstreamLocalCloseReason,
  detected: info.upstreamDetectedCloseType,
  details: info.responseCodeDetails,
  cluster: info.upstreamCluster,
});

interface Watched {
  readonly plane: Plane;
  /** Access log entries of the tcp_proxy. */
  readonly tcp: Entry[];
  readonly listener: Entry[];
}
const watch = async (listeners: readonly Listener[], clusters: readonly Cluster[]): Promise<Watched> => {
  const tcp: Entry[] = [];
  const connections: Entry[] = [];
  const write = (info: StreamInfo): void => {
    tcp.push(entry(info));
  };
  const plane = await startPlane(
    { listeners, clusters },
    { observer: { ...silentObserver, tcpLog: write, tcpClosed: write, connectionClosed: (info) => connections.push(entry(info)) } },
  );
  return { plane, tcp, listener: connections };
};

const echo = (): Promise<Backend> => startBackend((socket, text) => socket.write(text));

/** How a connection ends for its client. */
const ending = async (client: RawClient): Promise<'end' | 'reset'> =>
  await new Promise((resolve) => {
    client.socket.once('error', (error: Error & { code?: string }) => resolve(error.code === 'ECONNRESET' ? 'reset' : 'end'));
    client.socket.once('end', () => resolve('end'));
  });

describe('a tunnel that cannot be', () => {
  const cases: readonly (readonly [string, Listener_Filter, readonly Cluster[], string, string, number])[] = [
    ['for an unknown cluster', tcpProxy('none'), [], 'NC', 'tcp_initializion_failure:3', 0],
    ['for a cluster without hosts', tcpProxy('a'), [staticCluster('a', [])], 'UH', 'tcp_initializion_failure:1', 0],
    [
      'beyond the connection limit',
      tcpProxy('a'),
      [staticCluster('a', [1], { circuit_breakers: { thresholds: [{ max_connections: 0 }] } })],
      'UO',
      'tcp_initializion_failure:2',
      0,
    ],
    ['to a host that refuses', tcpProxy('a'), [staticCluster('a', [1])], 'UF,URX', 'tcp_initializion_failure:0', 1],
    [
      'to a host that refuses three times',
      tcpProxy('a', { max_connect_attempts: 3, backoff_options: { base_interval: '0.005s' } }),
      [staticCluster('a', [1])],
      'UF,URX',
      'tcp_initializion_failure:0',
      3,
    ],
  ];
  for (const [name, proxy, clusters, flags, reason, attempts] of cases)
    test(name, async () => {
      const { plane, tcp, listener: connections } = await watch([listener('l', proxy)], clusters);
      await using _ = plane;
      await (await RawClient.open(plane.port('l'))).rest();
      await eventually(() => tcp.length === 1, 'logged');
      const { type, ...rest } = tcp[0] ?? entry({} as StreamInfo);
      assert.equal(type, 'TcpConnectionEnd');
      assert.deepEqual([rest.flags, rest.downstreamClose, rest.attempts], [flags, reason, attempts]);
      assert.deepEqual({ ...connections[0], type: '' }, { ...rest, type: '' }, 'the listener tells the same');
      assert.equal(connections[0]?.type, 'NotSet');
    });
});

describe('a tunnel that ends', () => {
  test('by silence is closed with the reason on both sides', async () => {
    await using backend = await echo();
    const { plane, tcp } = await watch([listener('l', tcpProxy('a', { idle_timeout: '0.05s' }))], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const client = await RawClient.open(plane.port('l'));
    assert.equal(await client.send('hi').rest(), 'hi');
    assert.deepEqual(
      tcp.map((e) => [e.flags, e.downstreamClose, e.upstreamClose, e.received, e.sent]),
      [['', 'tcp_session_idle_timeout', 'tcp_session_idle_timeout', 2, 2]],
    );
  });

  test('by age has flag DT', async () => {
    await using backend = await echo();
    const proxy = tcpProxy('a', { max_downstream_connection_duration: '0.05s' });
    const { plane, tcp } = await watch([listener('l', proxy)], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    await (await RawClient.open(plane.port('l'))).rest();
    assert.deepEqual(
      tcp.map((e) => [e.flags, e.downstreamClose]),
      [['DT', 'max_connection_duration_reached']],
    );
  });

  test('by a reset of the server resets the client', async () => {
    await using backend = await startBackend((socket) => socket.resetAndDestroy());
    const { plane, tcp } = await watch([listener('l', tcpProxy('a'))], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const client = await RawClient.open(plane.port('l'));
    const ends = ending(client);
    client.send('x');
    assert.equal(await ends, 'reset');
    await eventually(() => tcp.length === 1, 'logged');
    assert.deepEqual([tcp[0]?.flags, tcp[0]?.detected], ['UR', 'RemoteReset']);
  });

  test('by a reset of the client resets the server', async () => {
    await using backend = await echo();
    const { plane, tcp } = await watch([listener('l', tcpProxy('a'))], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const client = await RawClient.open(plane.port('l'));
    await client.send('x').bytes(1);
    const [socket] = backend.sockets;
    assert.ok(socket !== undefined);
    const reset = once(socket, 'error');
    client.socket.resetAndDestroy();
    const [error] = await reset;
    assert.equal((error as { code?: string }).code, 'ECONNRESET');
    await eventually(() => tcp.length === 1, 'logged');
    assert.equal(tcp[0]?.flags, '');
  });

  test('by the server first still carries what the client says', async () => {
    const backend = await startBackend((socket, text) => {
      if (text === 'end') socket.end();
    });
    const { plane } = await watch([listener('l', tcpProxy('a'))], [staticCluster('a', [backend.port])]);
    const client = await RawClient.open(plane.port('l'));
    const ended = once(client.socket, 'end');
    client.send('end');
    await ended;
    client.send('more');
    await eventually(() => backend.received[0] === 'endmore', 'the rest has come');
    client.socket.end();
    await once(client.socket, 'close');
    await plane[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
  });

  test('by a client that says all and ends before the server is reached', async () => {
    await using backend = await echo();
    const { plane } = await watch([listener('l', tcpProxy('a'))], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const socket = connect({ port: plane.port('l'), host: '127.0.0.1', allowHalfOpen: true });
    socket.end('all of it');
    assert.equal(await new RawClient(socket).rest(), 'all of it');
  });
});

describe('tcp_proxy', () => {
  test('logs the connect and then every interval', async () => {
    await using backend = await echo();
    const proxy = tcpProxy('a', { access_log_options: { access_log_flush_interval: '0.04s', flush_access_log_on_connected: true } });
    const { plane, tcp } = await watch([listener('l', proxy)], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const client = await RawClient.open(plane.port('l'));
    await client.send('hi').bytes(2);
    await eventually(() => tcp.length >= 3, 'periodic entries');
    client.close();
    await eventually(() => tcp.at(-1)?.type === 'TcpConnectionEnd', 'the last entry');
    assert.deepEqual(
      tcp.slice(0, 3).map((e) => [e.type, e.received]),
      [
        ['TcpUpstreamConnected', 0],
        ['TcpPeriodic', 2],
        ['TcpPeriodic', 2],
      ],
    );
  });

  test('spreads connections by weight', async () => {
    await using backend = await echo();
    const proxy = tcpProxy('', {
      weighted_clusters: {
        clusters: [
          { name: 'a', weight: 1 },
          { name: 'b', weight: 3 },
        ],
      },
    });
    const listeners = [listener('l', proxy)];
    let n = 0;
    const plane = await startPlane(
      { listeners, clusters: [staticCluster('a', [backend.port]), staticCluster('b', [backend.port])] },
      { random: () => (n++ % 4) / 4 },
    );
    await using _ = plane;
    // The first choice of a host in a cluster draws once more.
    for (let i = 0; i < 12; i++) {
      if (i === 8) n = 0;
      const client = await RawClient.open(plane.port('l'));
      await client.send('x').bytes(1);
      client.close();
      await eventually(() => plane.tcp.length === i + 1, 'logged');
    }
    assert.deepEqual(
      plane.tcp
        .slice(8)
        .map((l) => l.cluster)
        .sort(),
      ['a', 'b', 'b', 'b'],
    );
  });

  test('keeps a slow reader from filling memory', async () => {
    const total = 32 * 1024 * 1024;
    await using backend = await startBackend(() => {});
    let written = 0;
    backend.server.on('connection', (socket) => {
      const chunk = Buffer.alloc(64 * 1024);
      const more = (): void => {
        while (written < total) {
          written += chunk.length;
          if (!socket.write(chunk)) return;
        }
      };
      socket.on('drain', more);
      more();
    });
    const { plane } = await watch([listener('l', tcpProxy('a'))], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const socket = connect({ port: plane.port('l'), host: '127.0.0.1' });
    await once(socket, 'connect');
    socket.pause();
    let before = -1;
    await eventually(() => {
      const stands = written === before && written > 0;
      before = written;
      return stands;
    }, 'the sender stops');
    assert.ok(written < total, `${written} bytes were taken for a client that reads nothing`);
    socket.destroy();
  });

  for (const [field, config] of [
    ['tunneling_config', { tunneling_config: { hostname: 'x' } }],
    ['on_demand', { on_demand: {} }],
    ['max_connect_attempts', { max_connect_attempts: 0 }],
    ['hash_policy[0].filter_state', { hash_policy: [{ filter_state: { key: 'x' } }] }],
    ['backoff_options.base_interval', { backoff_options: {} }],
    ['weighted_clusters.clusters[0].weight', { weighted_clusters: { clusters: [{ name: 'a', weight: 0 }] } }],
  ] as const)
    test(`refuses ${field}`, async () => {
      await using plane = await startPlane({});
      assert.throws(
        () => plane.plane.setListener(listener('l', tcpProxy('a', config))),
        (error: Error) => error.message.includes(`filter_chains[0].filters[0].typed_config.${field}`),
      );
    });
});

describe('network filters', () => {
  test('connection_limit closes who is too much, after a delay where told so', async () => {
    await using backend = await echo();
    const {
      plane,
      tcp,
      listener: connections,
    } = await watch([chains('l', [{ filters: [limit({ delay: '0.03s' }), tcpProxy('a')] }])], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const first = await RawClient.open(plane.port('l'));
    await first.send('x').bytes(1);
    const start = performance.now();
    assert.equal(await (await RawClient.open(plane.port('l'))).rest(), '');
    assert.ok(performance.now() - start >= 25);
    await eventually(() => tcp.length === 1, 'logged');
    assert.deepEqual([tcp[0]?.downstreamClose, tcp[0]?.attempts, tcp[0]?.type], ['over_connection_limit', 0, 'TcpConnectionEnd']);
    assert.equal(connections[0]?.downstreamClose, 'over_connection_limit');
    first.close();
    await eventually(() => tcp.length === 2, 'the first is over');
    const third = await RawClient.open(plane.port('l'));
    assert.equal(await third.send('y').bytes(1), 'y');
    third.close();
    assert.equal(plane.plane.stats.find('connection_limit.lim.limited_connections')?.value, 1);
  });

  test('direct_response says its bytes and closes', async () => {
    const direct = filter('direct_response.v3.Config', { response: { inline_string: 'hello!' } });
    const { plane, listener: connections } = await watch([listener('l', direct)], []);
    await using _ = plane;
    assert.equal(await (await RawClient.open(plane.port('l'))).rest(), 'hello!');
    assert.deepEqual(
      connections.map((e) => [e.details, e.sent]),
      [['direct_response', 6]],
    );
  });

  test('set_filter_state chooses the cluster', async () => {
    await using backend = await echo();
    const state = filter('set_filter_state.v3.Config', {
      on_new_connection: [{ object_key: 'envoy.tcp_proxy.cluster', format_string: { text_format_source: { inline_string: 'a' } } }],
    });
    const { plane, tcp } = await watch([chains('l', [{ filters: [state, tcpProxy('elsewhere')] }])], [staticCluster('a', [backend.port])]);
    await using _ = plane;
    const client = await RawClient.open(plane.port('l'));
    assert.equal(await client.send('x').bytes(1), 'x');
    client.close();
    await eventually(() => tcp.length === 1, 'logged');
    assert.equal(tcp[0]?.cluster, 'a');
  });

  for (const [what, filters] of [
    ['a connection limit of none', [limit({ max_connections: 0 }), tcpProxy('a')]],
    ['a connection limit that runtime switches', [limit({ runtime_enabled: { default_value: true, runtime_key: 'x' } }), tcpProxy('a')]],
    [
      'filter state of an unknown kind',
      [filter('set_filter_state.v3.Config', { on_new_connection: [{ object_key: 'x', factory_key: 'some.factory' }] }), tcpProxy('a')],
    ],
    ['an unknown filter', [filter('echo.v3.Echo', {}), tcpProxy('a')]],
  ] as const)
    test(`refuse ${what}`, async () => {
      await using plane = await startPlane({});
      assert.throws(() => plane.plane.setListener(chains('l', [{ filters }])), /filter_chains\[0\]\.filters\[0\]/);
    });
});
