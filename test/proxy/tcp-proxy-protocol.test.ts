// PROXY protocol at the listener and towards upstreams, plain and before TLS.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { StreamInfo } from '../../src/plan/stream-info.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { Cluster, Listener, ListenerFilter, ProxyProtocol, ProxyProtocolConfig, TransportSocket } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import {
  chains,
  eventually,
  hcm,
  httpBackend,
  listener,
  type Plane,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';

const SOCKETS = 'type.googleapis.com/envoy.extensions.transport_sockets';
const proxyProtocol = (config: ProxyProtocol = {}): ListenerFilter => ({
  name: 'envoy.filters.listener.proxy_protocol',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol', ...config },
});
const RAW: TransportSocket = { name: 'raw', typed_config: { '@type': `${SOCKETS}.raw_buffer.v3.RawBuffer` } };
const announcing = (config: ProxyProtocolConfig, inner: TransportSocket = RAW): Partial<Cluster> => ({
  transport_socket: {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    typed_config: { '@type': `${SOCKETS}.proxy_protocol.v3.ProxyProtocolUpstreamTransport`, config, transport_socket: inner },
  },
});

interface Told {
  readonly remote: string;
  readonly local: string;
  readonly direct: string;
  readonly metadata: unknown;
}
const told: (info: StreamInfo) => Told = (info) => ({
  remote: info.downstreamRemoteAddress,
  local: info.downstreamLocalAddress,
  direct: info.downstreamDirectRemoteAddress,
  metadata: info.dynamicMetadata['envoy.filters.listener.proxy_protocol'],
});

const watch = async (listeners: readonly Listener[], clusters: readonly Cluster[]) => {
  const logs: Told[] = [];
  const plane = await startPlane(
    { listeners, clusters },
    { observer: { ...silentObserver, tcpClosed: (info) => logs.push(told(info)), httpDone: (info) => logs.push(told(info)) } },
  );
  return { plane, logs };
};

const echo = () => startBackend((socket, text) => socket.write(text));
const V2_HEAD = '\r\n\r\n\0\r\nQUIT\n';
const V2 = Buffer.from(`${V2_HEAD}\x21\x11\x00\x11\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\xe0\x00\x02ab`, 'latin1');

const exchange = async (plane: Plane, name: string, ...parts: readonly (string | Buffer)[]): Promise<string> => {
  const client = await RawClient.open(plane.port(name));
  for (const part of parts) {
    client.send(part);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const answer = await client.bytes(2).catch(() => 'closed');
  client.close();
  return answer;
};

describe('a listener with PROXY protocol', () => {
  const header = 'PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n';
  const cases: readonly (readonly [string, ProxyProtocol, readonly (string | Buffer)[], string, string])[] = [
    ['reads version 1', {}, [`${header}hi`], 'hi', '1.2.3.4:1111 > 5.6.7.8:2222'],
    ['reads version 1 in pieces', {}, ['PROXY TC', 'P4 1.2.3.4 5.6.7.8 1111 2222\r', '\nhi'], 'hi', '1.2.3.4:1111 > 5.6.7.8:2222'],
    ['reads version 2', {}, [V2, 'hi'], 'hi', '1.2.3.4:1111 > 5.6.7.8:2222'],
    [
      'reads version 2 byte by byte',
      {},
      [...V2].map((b) => Buffer.from([b])).concat(Buffer.from('hi')),
      'hi',
      '1.2.3.4:1111 > 5.6.7.8:2222',
    ],
    ['keeps its own ends for UNKNOWN', {}, ['PROXY UNKNOWN\r\nhi'], 'hi', 'own'],
    ['refuses a connection without', {}, ['hello'], 'closed', ''],
    ['takes a connection without where told so', { allow_requests_without_proxy_protocol: true }, ['PROXX'], 'PR', 'own'],
    ['refuses a broken header even then', { allow_requests_without_proxy_protocol: true }, ['PROXY TCPX\r\n'], 'closed', ''],
    ['refuses a version that is not allowed', { disallowed_versions: ['V2'] }, [V2, 'hi'], 'closed', ''],
  ];
  for (const [name, config, parts, answer, ends] of cases)
    test(name, async () => {
      await using backend = await echo();
      const { plane, logs } = await watch(
        [listener('in', tcpProxy('app'), { listener_filters: [proxyProtocol(config)] })],
        [staticCluster('app', [backend.port])],
      );
      await using _ = plane;
      assert.equal(await exchange(plane, 'in', ...parts), answer);
      if (ends === '') {
        assert.equal(backend.sockets.length, 0);
        return;
      }
      await eventually(() => logs.length === 1, 'logged');
      const log = logs[0];
      if (ends === 'own') assert.equal(log?.remote, log?.direct);
      else {
        assert.equal(`${log?.remote} > ${log?.local}`, ends);
        assert.match(log?.direct ?? '', /^127\.0\.0\.1:/);
      }
    });

  test('keeps type-length-values that a rule names as metadata', async () => {
    await using backend = await echo();
    const rules = [{ tlv_type: 0xe0, on_tlv_present: { key: 'zone' } }];
    const { plane, logs } = await watch(
      [listener('in', tcpProxy('app'), { listener_filters: [proxyProtocol({ rules, stat_prefix: 'edge' })] })],
      [staticCluster('app', [backend.port])],
    );
    await using _ = plane;
    await exchange(plane, 'in', V2, 'hi');
    await eventually(() => logs.length === 1, 'logged');
    assert.deepEqual(logs[0]?.metadata, { zone: 'ab' });
    assert.equal(plane.plane.stats.find('proxy_proto.edge.versions.v2.found')?.value, 1);
  });

  test('chooses chains and original destinations by what the header says', async () => {
    await using backend = await echo();
    const { plane } = await watch(
      [
        chains('in', [{ filter_chain_match: { destination_port: backend.port }, filters: [tcpProxy('original')] }], {
          listener_filters: [proxyProtocol()],
        }),
      ],
      [{ name: 'original', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', connect_timeout: '1s' }],
    );
    await using _ = plane;
    assert.equal(await exchange(plane, 'in', `PROXY TCP4 127.0.0.9 127.0.0.1 1 ${backend.port}\r\nhi`), 'hi');
    assert.equal(await exchange(plane, 'in', 'PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\nhi'), 'closed');
  });

  test('names the client in x-forwarded-for', async () => {
    await using backend = await httpBackend((_n, head) => /x-forwarded-for: (.*)/.exec(head)?.[1] ?? 'none');
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [listener('in', hcm([toCluster('app')], { use_remote_address: true }), { listener_filters: [proxyProtocol()] })],
    });
    const client = await RawClient.open(plane.port('in'));
    assert.equal((await client.send(header).get('/')).body, '1.2.3.4');
    client.close();
  });
});

describe('an upstream with PROXY protocol', () => {
  const start = async (config: ProxyProtocolConfig) => {
    const backend = await startBackend((socket) => socket.write('ok'));
    const { plane } = await watch(
      [listener('in', tcpProxy('app'), { listener_filters: [proxyProtocol({ pass_through_tlvs: { match_type: 'INCLUDE_ALL' } })] })],
      [staticCluster('app', [backend.port], announcing(config))],
    );
    return { backend, plane };
  };

  test('of version 1 is told the client first', async () => {
    const { backend, plane } = await start({ version: 'V1' });
    assert.equal(await exchange(plane, 'in', V2, 'hi'), 'ok');
    await eventually(() => backend.received[0]?.endsWith('hi') === true, 'everything has come');
    assert.equal(backend.received[0], 'PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\nhi');
    await plane[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
  });

  test('of version 2 gets the values that are to be passed on', async () => {
    for (const [types, expected] of [
      [[0xe0], V2.toString('latin1')],
      [[0xe1], V2.toString('latin1').replace('\0\x11\x01', '\0\x0c\x01').slice(0, -5)],
    ] as const) {
      const { backend, plane } = await start({ version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: types } });
      assert.equal(await exchange(plane, 'in', V2, 'hi'), 'ok');
      await eventually(() => backend.received[0]?.endsWith('hi') === true, 'everything has come');
      assert.equal(backend.received[0], `${expected}hi`);
      await plane[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    }
  });

  test('never shares a connection between two HTTP clients', async () => {
    await using backend = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'));
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port], announcing({ version: 'V1' }))],
      listeners: [listener('in', hcm([toCluster('app')]))],
    });
    const clients = [await RawClient.open(plane.port('in')), await RawClient.open(plane.port('in'))];
    for (const client of [...clients, ...clients]) assert.equal((await client.get('/')).status, 200);
    assert.equal(backend.sockets.length, 2);
    for (const [i, client] of clients.entries())
      assert.match(backend.received[i] ?? '', new RegExp(`^PROXY TCP4 127\\.0\\.0\\.1 127\\.0\\.0\\.1 ${client.socket.localPort} `));
    for (const client of clients) client.close();
  });

  test('is told before TLS begins', async () => {
    const authority = createAuthority('edge');
    const issued = authority.issue({ dns: 'b.test' });
    await using backend = await echo();
    const server = await watch(
      [
        chains(
          'in',
          [
            {
              filters: [tcpProxy('app')],
              transport_socket: {
                name: 'tls',
                typed_config: {
                  '@type': `${SOCKETS}.tls.v3.DownstreamTlsContext`,
                  common_tls_context: {
                    tls_certificates: [
                      { certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } },
                    ],
                  },
                },
              },
            },
          ],
          { listener_filters: [proxyProtocol()] },
        ),
      ],
      [staticCluster('app', [backend.port])],
    );
    await using serverPlane = server.plane;
    const tls: TransportSocket = {
      name: 'tls',
      typed_config: {
        '@type': `${SOCKETS}.tls.v3.UpstreamTlsContext`,
        sni: 'b.test',
        common_tls_context: { validation_context: { trusted_ca: { inline_string: authority.pem } } },
      },
    };
    await using plane = await startPlane({
      clusters: [staticCluster('out', [serverPlane.port('in')], announcing({ version: 'V2' }, tls))],
      listeners: [listener('out', tcpProxy('out'))],
    });
    const client = await RawClient.open(plane.port('out'));
    const from = `127.0.0.1:${client.socket.localPort}`;
    assert.equal(await client.send('hi').bytes(2), 'hi');
    client.close();
    await eventually(() => server.logs.length === 1, 'logged');
    assert.equal(server.logs[0]?.remote, from);
  });
});
