// Configuration that must not weaken what is there: TLS checks that cannot be passed by, refused updates that change nothing, fields
// that are honoured or refused by name.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import type { Host } from '../../src/proxy/cluster/host.ts';
import type { Secret, TransportSocket } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import {
  chains,
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  ok,
  RawClient,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const SDS = { api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] } };
const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const authority = createAuthority('test authority');
const upstreamTls = (validation: object): TransportSocket => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': `${TLS}.UpstreamTlsContext`, common_tls_context: { validation_context: validation }, sni: 'b.test' },
});

describe('TLS', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const)
    test(`${version}: a peer with the wrong name stays refused however often it is tried`, { timeout: 120_000 }, async () => {
      const leaf = authority.issue({ uri: 'spiffe://cluster.local/ns/x/sa/evil' });
      let served = 0;
      const server = createTlsServer({ cert: leaf.certificate, key: leaf.key, minVersion: version, maxVersion: version }, (socket) => {
        socket.on('error', () => {});
        socket.on('data', () => {
          served++;
          socket.write(ok('evil'));
        });
      });
      server.on('tlsClientError', () => {});
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      await using plane = await startPlane({
        clusters: [
          staticCluster('c', [(server.address() as AddressInfo).port], {
            transport_socket: upstreamTls({
              trusted_ca: { inline_string: authority.pem },
              match_subject_alt_names: [{ exact: 'spiffe://cluster.local/ns/x/sa/good' }],
            }),
          }),
        ],
        listeners: [listener('l', hcm([toCluster('c')]))],
      });
      for (let n = 0; n < 5; n++) assert.equal((await fetchOnce(plane.port('l'), '/')).status, 503);
      assert.equal(served, 0);
      server.close();
    });

  test('names are not checked without a trust bundle: refused', async () => {
    await using plane = await startPlane({});
    const socket = upstreamTls({ match_subject_alt_names: [{ exact: 'spiffe://cluster.local/ns/x/sa/good' }] });
    assert.throws(() => plane.plane.setCluster(staticCluster('c', [1], { transport_socket: socket })), /trusted_ca/);
  });

  test('a secret that cannot be used changes nothing', async () => {
    await using plane = await startPlane({});
    const server = (name: string) =>
      chains(name, [
        {
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': `${TLS}.DownstreamTlsContext`,
              common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }] },
            },
          },
          filters: [hcm([])],
        },
      ]);
    const secret = (key: string, chain: string): Secret => ({
      name: 'default',
      tls_certificate: { certificate_chain: { inline_string: chain }, private_key: { inline_string: key } },
    });
    const leaf = authority.issue({ uri: 'spiffe://cluster.local/ns/x/sa/a' });
    plane.plane.setListener(server('one'));
    plane.plane.setSecret(secret(leaf.key, leaf.certificate));
    assert.throws(() => plane.plane.setSecret(secret('no key', 'no certificate')), /not usable/);
    // A context made afterwards takes the last good one.
    plane.plane.setListener(server('two'));
    await plane.plane.settled();
    assert.equal([...plane.plane.listeners()].filter((l) => l.bound).length, 2);
  });
});

describe('a refused cluster', () => {
  test('holds no secret and no timer', async () => {
    await using plane = await startPlane({});
    const sds = {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TLS}.UpstreamTlsContext`,
        common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }] },
      },
    };
    assert.throws(
      () =>
        plane.plane.setCluster(
          staticCluster('c', [], {
            transport_socket: sds,
            transport_socket_matches: [{ name: 'x', transport_socket: { name: 'unknown' } }],
          }),
        ),
      /transport_socket_matches\[0\]/,
    );
    assert.throws(
      () =>
        plane.plane.setCluster({
          name: 'c',
          transport_socket: sds,
          outlier_detection: { interval: '0.01s' },
          load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 'no ip' } } } }] }] },
        }),
      /no ip|address/,
    );
    assert.deepEqual([...plane.plane.referencedSecrets().keys()], []);
  });

  test('names what it cannot honour', async () => {
    await using plane = await startPlane({});
    assert.throws(
      () => plane.plane.setCluster(staticCluster('c', [], { circuit_breakers: { per_host_thresholds: [{ max_requests: 1 }] } })),
      /circuit_breakers.per_host_thresholds\[0\].max_requests/,
    );
    plane.plane.setCluster(staticCluster('c', [], { circuit_breakers: { per_host_thresholds: [{}] } }));
    assert.throws(() => plane.plane.setListener(listener('l', hcm([]), { transparent: true })), /transparent/);
    assert.throws(() => plane.plane.setListener(listener('l', hcm([]), { enable_mptcp: true })), /enable_mptcp/);
    plane.plane.setListener(listener('l', hcm([]), { transparent: false }));
  });
});

describe('variants of connections', () => {
  test('refuses a connect timeout that no connection could keep', async () => {
    await using plane = await startPlane({});
    for (const connect_timeout of ['0s', '-1s', '-0.5s', 'soon'])
      assert.throws(() => plane.plane.setCluster(staticCluster('c', [1], { connect_timeout })), /^PlanError: .*connect_timeout/);
    plane.plane.setCluster(staticCluster('c', [1], { connect_timeout: '0.000001s' }));
  });

  test('names that clients make up leave neither pools nor connections beyond the limit', { timeout: 120_000 }, async () => {
    const leaf = authority.issue({ dns: 'b.test' });
    const open = new Set<object>();
    const server = createTlsServer({ cert: leaf.certificate, key: leaf.key }, (socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
      socket.on('error', () => {});
      socket.on('data', () => socket.write(ok('fine')));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [(server.address() as AddressInfo).port], {
          transport_socket: upstreamTls({ trusted_ca: { inline_string: authority.pem } }),
          circuit_breakers: { thresholds: [{ max_connections: 3 }] },
          typed_extension_protocol_options: {
            [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, upstream_http_protocol_options: { auto_sni: true } },
          },
        }),
      ],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const client = await RawClient.open(plane.port('l'));
    for (let n = 0; n < 30; n++) assert.equal((await client.send(`GET / HTTP/1.1\r\nhost: n${n}.test\r\n\r\n`).response()).status, 200);
    assert.ok(plane.plane.stats.gauge('cluster.c.upstream_cx_active').value <= 3);
    await eventually(() => open.size <= 3, 'the others are closed');
    for (const cluster of plane.plane.clusters())
      for (const host of cluster.hosts()) assert.ok((host as Host).pools.length <= 17, `${(host as Host).pools.length} pools`);
    client.close();
    server.close();
  });
});

describe('what a client or a cluster may ask', () => {
  test('an internal client asks for retries; an outside one does not; nothing of it goes upstream', async () => {
    const heads: string[] = [];
    await using backend = await httpBackend((n, head) => {
      heads.push(head);
      return n % 3 === 2 ? 'third' : 'HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n';
    });
    const internal = {
      use_remote_address: true,
      internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
    };
    await using plane = await startPlane({
      clusters: [staticCluster('c', [backend.port])],
      listeners: [listener('in', hcm([toCluster('c')], internal)), listener('out', hcm([toCluster('c')], { use_remote_address: true }))],
    });
    const asked = 'x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 2\r\n';
    assert.equal((await fetchOnce(plane.port('in'), '/', asked)).body, 'third');
    assert.equal(plane.http[0]?.attempts, 3);
    assert.equal((await fetchOnce(plane.port('out'), '/', asked)).status, 500);
    assert.equal(plane.http[1]?.attempts, 1);
    assert.ok(heads.every((head) => !/x-envoy-(retry-on|max-retries)/.test(head)));
  });

  test('max_connection_duration ends connections on both sides after a request', { timeout: 120_000 }, async () => {
    await using backend = await httpBackend((n) => String(n));
    const common = { max_connection_duration: '0.1s' };
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [backend.port], {
          typed_extension_protocol_options: {
            [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, common_http_protocol_options: common },
          },
        }),
      ],
      listeners: [listener('l', hcm([toCluster('c')])), listener('short', hcm([toCluster('c')], { common_http_protocol_options: common }))],
    });
    assert.equal((await fetchOnce(plane.port('l'), '/')).body, '0');
    await eventually(() => plane.plane.stats.gauge('cluster.c.upstream_cx_active').value === 0, 'the upstream connection ends');
    const client = await RawClient.open(plane.port('short'));
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal((await client.get('/')).headers.get('connection'), 'close');
    await client.rest();
    client.close();
  });

  test('a host far below the success rate of the others is ejected', { timeout: 120_000 }, async () => {
    await using bad = await httpBackend(() => 'HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n');
    await using good = await httpBackend(() => 'good');
    await using better = await httpBackend(() => 'good');
    await using plane = await startPlane({
      clusters: [
        staticCluster('c', [bad.port, good.port, better.port], {
          outlier_detection: {
            interval: '0.2s',
            enforcing_consecutive_5xx: 0,
            max_ejection_percent: 50,
            success_rate_minimum_hosts: 3,
            success_rate_request_volume: 3,
            success_rate_stdev_factor: 1000,
          },
        }),
      ],
      listeners: [listener('l', hcm([toCluster('c')]))],
    });
    const ejected = plane.plane.stats.gauge('cluster.c.outlier_detection.ejections_active');
    for (let n = 0; n < 12; n++) await fetchOnce(plane.port('l'), '/');
    await eventually(() => ejected.value === 1, 'it is ejected');
    for (let n = 0; n < 4; n++) assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'good');
  });
});

test('a cluster may not have a filter that nobody would run', async () => {
  await using plane = await startPlane({});
  const other = { name: 'any', typed_config: { '@type': `${TLS}.UpstreamTlsContext` } } as const;
  assert.throws(() => plane.plane.setCluster(staticCluster('c', [], { filters: [other] })), /^PlanError: filters\[0\]: only/);
  const known = {
    name: 'any',
    typed_config: { '@type': 'type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange' },
  } as const;
  plane.plane.setCluster(staticCluster('c', [], { filters: [known] }));
});
