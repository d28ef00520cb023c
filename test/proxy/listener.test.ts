// TCP, TLS, filter-chain choice by original destination and first bytes, updates under load.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Cluster, FilterChain, Secret } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import {
  chains,
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  RawClient,
  startBackend,
  startPlane,
  staticCluster,
  tcpProxy,
  toCluster,
} from './harness.ts';

const DOWNSTREAM = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const UPSTREAM = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const SDS = { api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] } };
const authority = createAuthority('test authority');
const otherAuthority = createAuthority('another authority');
const identity = (name: string) => authority.issue({ uri: `spiffe://cluster.local/ns/default/sa/${name}` });

const secrets = (name: string, from = authority): Secret[] => {
  const issued = from === authority ? identity(name) : from.issue({ uri: `spiffe://cluster.local/ns/default/sa/${name}` });
  return [
    {
      name: 'default',
      tls_certificate: { certificate_chain: { inline_string: issued.certificate }, private_key: { inline_string: issued.key } },
    },
    { name: 'ROOTCA', validation_context: { trusted_ca: { inline_string: authority.pem } } },
  ];
};
const mutual = (alpn: readonly string[], sans: readonly { exact?: string; prefix?: string }[]) => ({
  alpn_protocols: alpn,
  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: SDS }],
  combined_validation_context: {
    default_validation_context: { match_subject_alt_names: sans },
    validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: SDS },
  },
});
const serverTls = {
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': DOWNSTREAM,
    common_tls_context: mutual(['h2', 'http/1.1'], [{ prefix: 'spiffe://cluster.local/' }]),
    require_client_certificate: true,
  },
};
const clientTls = (san: string) => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': UPSTREAM,
    common_tls_context: mutual(['istio-peer-exchange', 'istio'], [{ exact: san }]),
    sni: 'outbound_.80_._.b.test',
  },
});
const inspectors = {
  listener_filters: [
    {
      name: 'envoy.filters.listener.tls_inspector',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector' },
    },
    {
      name: 'envoy.filters.listener.http_inspector',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector' },
    },
  ],
};
const inboundChains = (cluster: string): FilterChain[] => [
  {
    name: 'mtls',
    filter_chain_match: { transport_protocol: 'tls', application_protocols: ['istio', 'istio-http/1.1'] },
    transport_socket: serverTls,
    filters: [
      hcm([toCluster(cluster)], {
        forward_client_cert_details: 'APPEND_FORWARD',
        set_current_client_cert_details: { subject: true, uri: true, dns: true },
      }),
    ],
  },
  {
    name: 'plain-http',
    filter_chain_match: { transport_protocol: 'raw_buffer', application_protocols: ['http/1.1', 'h2c'] },
    filters: [hcm([toCluster(cluster)])],
  },
  { name: 'plain-tcp', filter_chain_match: { transport_protocol: 'raw_buffer' }, filters: [tcpProxy(cluster)] },
];

describe('listeners', () => {
  test('tcp_proxy passes bytes and half-closes', async () => {
    await using backend = await startBackend((socket, text) => {
      socket.write(text.toUpperCase());
    });
    await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [listener('l', tcpProxy('c'))] });
    const client = await RawClient.open(plane.port('l'));
    client.send('hello');
    assert.equal(await client.bytes(5), 'HELLO');
    client.socket.end();
    assert.equal(await client.rest(), '');
    await eventually(() => plane.tcp.length === 1, 'logged');
    assert.deepEqual([plane.tcp[0]?.received, plane.tcp[0]?.sent, plane.tcp[0]?.flags], [5, 5, '']);
  });

  test('tcp_proxy without an endpoint closes with UH, refused with UF and URX', async () => {
    await using plane = await startPlane({
      clusters: [staticCluster('none', []), staticCluster('refused', [1])],
      listeners: [listener('none', tcpProxy('none')), listener('refused', tcpProxy('refused')), listener('nc', tcpProxy('missing'))],
    });
    for (const name of ['none', 'refused', 'nc']) await (await RawClient.open(plane.port(name))).rest();
    assert.deepEqual(
      plane.tcp.map((l) => l.flags),
      ['UH', 'UF,URX', 'NC'],
    );
  });

  test('mutual TLS between two planes, PERMISSIVE plain text on the same port', async () => {
    await using backend = await httpBackend((_n, head) => /x-forwarded-client-cert: (.*)/.exec(head)?.[1] ?? 'no certificate');
    await using server = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [chains('in', inboundChains('app'), inspectors)],
    });
    assert.equal(server.plane.ready, false, 'warming until the secrets come');
    assert.deepEqual([...server.plane.referencedSecrets().keys()].sort(), ['ROOTCA', 'default']);
    for (const secret of secrets('server')) server.plane.setSecret(secret);
    await server.plane.settled();
    assert.equal(server.plane.ready, true);
    const port = server.port('in');
    const cluster: Cluster = { ...staticCluster('up', [port]), transport_socket: clientTls('spiffe://cluster.local/ns/default/sa/server') };
    await using client = await startPlane({
      clusters: [cluster, { ...staticCluster('wrong', [port]), transport_socket: clientTls('spiffe://cluster.local/ns/default/sa/other') }],
      listeners: [listener('out', hcm([{ match: { prefix: '/wrong' }, route: { cluster: 'wrong' } }, toCluster('up')]))],
    });
    for (const secret of secrets('client')) client.plane.setSecret(secret);
    await client.plane.settled();
    const through = await fetchOnce(client.port('out'), '/');
    assert.match(
      through.body,
      /^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/server;Hash=[0-9a-f]{64};Subject="";URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client$/,
    );
    await eventually(() => server.http.length === 1, 'logged by the server');
    assert.deepEqual(
      [server.http[0]?.peer, server.http[0]?.sni, server.http[0]?.chain],
      ['spiffe://cluster.local/ns/default/sa/client', 'outbound_.80_._.b.test', 'mtls'],
    );
    const wrong = await fetchOnce(client.port('out'), '/wrong');
    assert.equal(wrong.status, 503);
    assert.match(client.http.at(-1)?.details ?? '', /remote_connection_failure\|TLS_error:/);
    assert.equal((await fetchOnce(port, '/')).body, 'no certificate');
    assert.equal(server.http.at(-1)?.chain, 'plain-http');
  });

  test('certificates rotate under open connections; a foreign client is refused', async () => {
    await using backend = await httpBackend((n) => String(n));
    await using server = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [chains('in', inboundChains('app'), inspectors)],
    });
    for (const secret of secrets('server')) server.plane.setSecret(secret);
    await server.plane.settled();
    const port = server.port('in');
    const dial = async (from = authority) => {
      const leaf = from.issue({ uri: 'spiffe://cluster.local/ns/default/sa/client' });
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        cert: leaf.certificate,
        key: leaf.key,
        ca: authority.pem,
        checkServerIdentity: () => undefined,
        ALPNProtocols: ['istio'],
      });
      socket.on('error', () => {});
      return socket;
    };
    const socket = await dial();
    await once(socket, 'secureConnect');
    const client = new RawClient(socket);
    assert.equal((await client.get('/')).body, '0');
    const before = socket.getPeerCertificate().serialNumber;
    for (const secret of secrets('server')) server.plane.setSecret(secret);
    assert.equal((await client.get('/')).body, '1');
    const fresh = await dial();
    await once(fresh, 'secureConnect');
    assert.notEqual(fresh.getPeerCertificate().serialNumber, before);
    fresh.destroy();
    client.close();
    const foreign = await dial(otherAuthority);
    await once(foreign, 'close');
    await eventually(() => server.connections.some((c) => c.status === 0), 'the refusal is reported');
    assert.equal((await fetchOnce(port, '/')).body, '2');
  });

  test('the original destination picks the virtual listener, exact before any address', async () => {
    await using backend = await httpBackend((_n, head) => /x-l: (\w+)/.exec(head)?.[1] ?? '');
    const marked = (name: string) =>
      hcm([toCluster('c')], {
        via: name,
        route_config: {
          virtual_hosts: [
            {
              name: 'v',
              domains: ['*'],
              routes: [{ ...toCluster('c'), request_headers_to_add: [{ header: { key: 'x-l', value: name } }] }],
            },
          ],
        },
      });
    const virtual = (name: string, address: string, port: number) =>
      listener(name, marked(name), { address: { socket_address: { address, port_value: port } }, bind_to_port: false });
    let destination = { ip: '10.96.0.1', port: 80 };
    await using plane = await startPlane(
      {
        clusters: [staticCluster('c', [backend.port])],
        listeners: [
          virtual('exact', '10.96.0.1', 80),
          virtual('any', '0.0.0.0', 80),
          listener('out', marked('fallback'), { use_original_dst: true }),
        ],
      },
      { originalDestination: { of: () => destination } },
    );
    const port = plane.port('out');
    assert.equal((await fetchOnce(port, '/')).body, 'exact');
    destination = { ip: '10.96.0.2', port: 80 };
    assert.equal((await fetchOnce(port, '/')).body, 'any');
    destination = { ip: '10.96.0.2', port: 81 };
    assert.equal((await fetchOnce(port, '/')).body, 'fallback');
  });

  test('ORIGINAL_DST clusters go where the connection was going', async () => {
    await using backend = await httpBackend(() => 'there');
    await using plane = await startPlane(
      {
        clusters: [{ name: 'pass', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' }],
        listeners: [listener('out', tcpProxy('pass'), { use_original_dst: true })],
      },
      { originalDestination: { of: () => ({ ip: '127.0.0.1', port: backend.port }) } },
    );
    assert.equal((await fetchOnce(plane.port('out'), '/')).body, 'there');
  });

  test('a cluster may point at a pipe', async () => {
    await using plane = await startPlane({
      clusters: [
        {
          name: 'sds-grpc',
          load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: '/nowhere/socket' } } } }] }] },
        },
      ],
      listeners: [listener('l', tcpProxy('sds-grpc'))],
    });
    await (await RawClient.open(plane.port('l'))).rest();
    assert.deepEqual([plane.tcp[0]?.flags, plane.tcp[0]?.upstream], ['UF,URX', '/nowhere/socket']);
  });

  test('no filter chain: the connection is reset and reported NR', async () => {
    await using plane = await startPlane({
      listeners: [chains('l', [{ filter_chain_match: { transport_protocol: 'tls' }, filters: [tcpProxy('c')] }], inspectors)],
    });
    const client = await RawClient.open(plane.port('l'));
    client.send('GET / HTTP/1.1\r\n\r\n');
    await client.rest();
    await eventually(() => plane.connections.length === 1, 'reported');
    assert.deepEqual([plane.connections[0]?.flags, plane.connections[0]?.details], ['NR', 'filter_chain_not_found']);
  });

  test('first bytes arriving one by one are still told apart', async () => {
    await using backend = await httpBackend(() => 'slow');
    await using plane = await startPlane({
      clusters: [staticCluster('app', [backend.port])],
      listeners: [chains('in', inboundChains('app').slice(1), inspectors)],
    });
    const client = await RawClient.open(plane.port('in'));
    for (const letter of 'GET / HTTP/1.1\r\nhost: x\r\n\r\n') {
      client.send(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await client.response()).body, 'slow');
    client.close();
  });

  test('endpoints come, go and move under load without a failure', async () => {
    const backends = await Promise.all(['a', 'b', 'c'].map((name) => httpBackend(() => name)));
    const cluster: Cluster = { name: 'eds', type: 'EDS', eds_cluster_config: { eds_config: { ads: {} } } };
    await using plane = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('eds')]))] });
    assert.deepEqual([...plane.plane.referencedEndpoints()], ['eds']);
    const assign = (...which: number[]) =>
      plane.plane.setEndpoints({
        ...staticCluster(
          'eds',
          which.map((i) => backends[i]?.port ?? 0),
        ).load_assignment,
        cluster_name: 'eds',
      });
    assign(0);
    let stop = false;
    const failures: number[] = [];
    let served = 0;
    const worker = async () => {
      const client = await RawClient.open(plane.port('l'));
      while (!stop) {
        const { status } = await client.get('/');
        if (status !== 200) failures.push(status);
        served++;
      }
      client.close();
    };
    const workers = [worker(), worker(), worker(), worker()];
    for (let turn = 0; turn < 30; turn++) {
      assign(turn % 3, (turn + 1) % 3);
      if (turn % 5 === 0) plane.plane.setCluster({ ...cluster, connect_timeout: `${turn + 1}s` });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    stop = true;
    await Promise.all(workers);
    assert.deepEqual(failures, []);
    assert.ok(served > 30, String(served));
    for (const backend of backends) await backend[Symbol.asyncDispose]();
  });

  test('a changed listener keeps its socket and its connections; a route update needs none', async () => {
    await using backend = await httpBackend(() => 'app');
    const routes = (body: string) => ({
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [{ match: { prefix: '/d' }, direct_response: { status: 200, body: { inline_string: body } } }, toCluster('c')],
        },
      ],
    });
    const rds = (server: string) => {
      const filter = hcm([], { rds: { route_config_name: 'r', config_source: { ads: {} } }, server_name: server });
      const { route_config: _, ...config } = filter.typed_config as unknown as { route_config: unknown } & { '@type': string };
      return listener('l', { ...filter, typed_config: config });
    };
    await using plane = await startPlane({ clusters: [staticCluster('c', [backend.port])], listeners: [rds('one')] });
    assert.equal(plane.plane.ready, false);
    assert.deepEqual([...plane.plane.referencedRoutes()], ['r']);
    plane.plane.setRoutes(routes('first'));
    await plane.plane.settled();
    assert.equal(plane.plane.ready, true);
    const port = plane.port('l');
    const client = await RawClient.open(port);
    assert.equal((await client.get('/d')).body, 'first');
    plane.plane.setRoutes(routes('second'));
    assert.equal((await client.get('/d')).body, 'second');
    plane.plane.setListener(rds('two'));
    await plane.plane.settled();
    assert.equal(plane.port('l'), port);
    const last = await client.get('/');
    assert.deepEqual([last.body, last.headers.get('server'), last.headers.get('connection')], ['app', 'one', 'close']);
    client.close();
    assert.equal((await fetchOnce(port, '/')).headers.get('server'), 'two');
    assert.throws(
      () => plane.plane.setListener(listener('l', tcpProxy('c', { tunneling_config: { hostname: 'x' } }))),
      /tunneling_config: not supported/,
    );
    assert.equal((await fetchOnce(port, '/')).headers.get('server'), 'two');
  });

  test('a port in use refuses the listener, which comes into force once the port is free', async () => {
    const taken = await startBackend(() => {});
    const port = (taken.server.address() as AddressInfo).port;
    await using plane = await startPlane({});
    const wanted = listener('l', tcpProxy('c'), { address: { socket_address: { address: '127.0.0.1', port_value: port } } });
    assert.throws(() => plane.plane.setListener(wanted), /^PlanError: address: cannot bind '127.0.0.1:\d+': Address already in use$/);
    assert.deepEqual([...plane.plane.bindFailures().keys()], ['l']);
    assert.equal(plane.plane.ready, false);
    const bound = new Promise<void>((resolve) => {
      plane.plane.onChange(() => plane.plane.ready && resolve());
    });
    await taken[Symbol.asyncDispose]();
    await bound;
    assert.equal(plane.plane.bindFailures().size, 0);
    assert.deepEqual(
      [...plane.plane.listeners()].map((l) => [l.name, l.bound]),
      [['l', true]],
    );
  });
});
