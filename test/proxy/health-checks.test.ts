// Active health checks: what is asked of hosts over HTTP, gRPC and TCP, what an answer does to a host, and when a cluster is warm. The
// findings are those of Envoy 1.40 for the same clusters.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttp2, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { HostView } from '../../src/proxy/data-plane.ts';
import { compileHealth } from '../../src/proxy/health/health-plan.ts';
import type { Cluster, HealthCheck, TransportSocket } from '../../src/xds/gen/types.ts';
import { createAuthority } from './certificates.ts';
import {
  type Backend,
  eventually,
  fetchOnce,
  hcm,
  httpBackend,
  listener,
  ok,
  type Plane,
  startBackend,
  startPlane,
  staticCluster,
  toCluster,
} from './harness.ts';

const OFTEN: HealthCheck = { timeout: '1s', interval: '0.05s', no_traffic_interval: '0.05s', unhealthy_threshold: 2, healthy_threshold: 2 };
const checked = (ports: readonly number[], check: HealthCheck, more: Partial<Cluster> = {}): Cluster =>
  staticCluster('c', ports, { health_checks: [{ ...OFTEN, ...check }], ...more });
const hostsOf = ({ plane }: Plane): HostView[] => [...plane.clusters()].flatMap((c) => [...c.hosts()]);
const flags = (rig: Plane): string[] =>
  hostsOf(rig).map(({ checks }) =>
    Object.entries(checks)
      .filter(([, set]) => set)
      .map(([name]) => name)
      .join(),
  );
const isWarm = (rig: Plane): boolean => [...rig.plane.clusters()].every((c) => c.warm);
const stat = ({ plane }: Plane, name: string): number => plane.stats.find(`cluster.c.${name}`)?.value ?? -1;
const NO_CONTENT = 'HTTP/1.1 204 No Content\r\n\r\n';
const FAILING = 'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n';

test('HTTP: the question is what configuration says; one wrong status fails a host at once and several good ones take it back', async () => {
  let answer = ok('fine');
  const heads: string[] = [];
  await using one = await httpBackend((_n, head) => {
    heads.push(head);
    return /^GET \/hc/.test(head) ? answer : 'one';
  });
  await using two = await httpBackend(() => 'two');
  const cluster = checked([one.port, two.port], {
    http_health_check: { path: '/hc?x', request_headers_to_add: [{ header: { key: 'x-q', value: '%PROTOCOL%|v' } }] },
  });
  await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
  assert.equal(isWarm(rig), false, 'not before the first answer');
  await eventually(() => isWarm(rig), 'warm');
  assert.equal(heads[0], 'GET /hc?x HTTP/1.1\r\nhost: c\r\nuser-agent: Envoy/HC\r\nx-q: HTTP/1.1|v');
  assert.deepEqual(flags(rig), ['', '']);
  answer = FAILING;
  await eventually(() => flags(rig)[0] === 'failed', 'failed');
  assert.equal(stat(rig, 'membership_healthy'), 1);
  assert.equal(stat(rig, 'health_check.healthy'), 1);
  assert.equal(stat(rig, 'health_check.failure'), 1, 'one wrong status was enough');
  for (let i = 0; i < 4; i++) assert.equal((await fetchOnce(rig.port('l'), '/')).body, 'two');
  answer = ok('fine');
  const before = heads.length;
  await eventually(() => flags(rig)[0] === '', 'taken back');
  assert.ok(heads.length - before >= 2, 'two good answers in a row');
  assert.equal(one.sockets.length >= 1 && heads.length > one.sockets.length, true, 'connections are used again');
});

test('HTTP: expected and forgiven statuses, method, body, the name of the service, a connection for each question', async () => {
  const asked: string[] = [];
  let answer = NO_CONTENT;
  await using one = await httpBackend((_n, head) => {
    asked.push(head);
    return answer;
  });
  const question: HealthCheck = {
    reuse_connection: false,
    unhealthy_threshold: 3,
    http_health_check: {
      path: '/',
      host: 'named.test',
      method: 'PUT',
      send: { text: '616263' },
      expected_statuses: [{ start: 204, end: 206 }],
      retriable_statuses: [{ start: 500, end: 505 }],
      service_name_matcher: { prefix: 'pay' },
    },
  };
  answer = 'HTTP/1.1 204 No Content\r\nx-envoy-upstream-healthchecked-cluster: payment\r\n\r\n';
  await using rig = await startPlane({ clusters: [checked([one.port], question)] });
  await eventually(() => isWarm(rig) && asked.length > 3, 'asked');
  assert.equal(asked[0], 'PUT / HTTP/1.1\r\nhost: named.test\r\nuser-agent: Envoy/HC\r\ncontent-length: 3');
  assert.ok(one.received[0]?.endsWith('abc'));
  assert.equal(one.sockets.length, one.received.length);
  assert.ok(one.sockets.length > 2, 'a connection for each');
  assert.deepEqual(flags(rig), ['']);
  answer = FAILING;
  await eventually(() => flags(rig)[0] === 'failed', 'failed');
  assert.equal(stat(rig, 'health_check.failure'), 3, 'forgiven twice');
  answer = 'HTTP/1.1 204 No Content\r\nx-envoy-upstream-healthchecked-cluster: payment\r\n\r\n';
  await eventually(() => flags(rig)[0] === '', 'taken back');
  answer = 'HTTP/1.1 204 No Content\r\nx-envoy-upstream-healthchecked-cluster: orders\r\n\r\n';
  await eventually(() => flags(rig)[0] === 'failed', 'another service');
  assert.equal(stat(rig, 'health_check.verify_cluster') >= 1, true);
});

test('a silent host fails by time, a degraded one is chosen last, one that asks to be left alone is left out of every share', async () => {
  let answer = 'silent';
  await using one = await httpBackend((_n, head) => (/^GET \/hc/.test(head) ? answer : 'one'));
  await using two = await httpBackend(() => 'two');
  const check = checked([one.port, two.port], { timeout: '0.05s', http_health_check: { path: '/hc' } });
  const cluster = { ...check, load_assignment: { ...check.load_assignment, policy: { overprovisioning_factor: 200 } } };
  await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
  await eventually(() => flags(rig)[0] === 'failed,timedOut', 'timed out');
  assert.ok(stat(rig, 'health_check.network_failure') >= 1);
  answer = ok('', 'x-envoy-degraded: 1\r\n');
  await eventually(() => flags(rig)[0] === 'degraded', 'degraded');
  assert.equal(stat(rig, 'membership_degraded'), 1);
  for (let i = 0; i < 6; i++) assert.equal((await fetchOnce(rig.port('l'), '/')).body, 'two');
  answer = FAILING.replace('content-length', 'x-envoy-immediate-health-check-fail: 1\r\ncontent-length');
  await eventually(() => flags(rig)[0] === 'failed,degraded,excluded', 'excluded');
  assert.equal(stat(rig, 'membership_excluded'), 1);
});

test('an answer to a request fails its host at once where that is asked for', async () => {
  await using one = await httpBackend((_n, head) =>
    /^GET \/hc/.test(head) ? ok('') : ok('one', 'x-envoy-immediate-health-check-fail: 1\r\n'),
  );
  await using two = await httpBackend(() => 'two');
  const cluster = checked([one.port, two.port], { http_health_check: { path: '/hc' }, interval: '60s', no_traffic_interval: '60s' });
  await using rig = await startPlane({ clusters: [cluster], listeners: [listener('l', hcm([toCluster('c')]))] });
  await eventually(() => isWarm(rig), 'warm');
  const bodies: string[] = [];
  for (let i = 0; i < 6; i++) bodies.push((await fetchOnce(rig.port('l'), '/')).body);
  assert.equal(bodies.filter((b) => b === 'one').length, 1);
  assert.deepEqual(flags(rig), ['failed,excluded', '']);
  assert.equal(stat(rig, 'health_check.passive_failure'), 1);
});

test('TCP: standing is enough, or what comes back holds what it should, in order', async () => {
  let says = 'xx PONG and OK';
  await using one = await startBackend((socket, text) => void (text.includes('PING') && socket.write(says)));
  await using rig = await startPlane({ clusters: [checked([one.port], { tcp_health_check: {} })] });
  await eventually(() => isWarm(rig) && flags(rig)[0] === '', 'stands');
  const talk = {
    send: { text: Buffer.from('PING').toString('hex') },
    receive: [{ text: Buffer.from('PONG').toString('hex') }, { text: Buffer.from('OK').toString('hex') }],
  };
  await using talking = await startPlane({ clusters: [checked([one.port], { timeout: '0.1s', tcp_health_check: talk })] });
  await eventually(() => isWarm(talking) && flags(talking)[0] === '', 'answers');
  says = 'OK PONG';
  await eventually(() => flags(talking)[0] === 'failed,timedOut', 'in the wrong order');
  await using nobody = await startPlane({ clusters: [checked([1], { tcp_health_check: {} })] });
  await eventually(() => isWarm(nobody) && flags(nobody)[0] === 'failed', 'refused');
});

/** grpc.health.v1.Health: SERVING (1) or not (2). */
const grpcHealth = async (
  serving: () => boolean,
  asked: (service: string, authority: string) => void,
): Promise<Http2Server & { port: number }> => {
  const server = createHttp2();
  server.on('stream', (stream, headers) => {
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () => {
      const message = Buffer.concat(pieces).subarray(5);
      asked(message.length > 2 ? message.subarray(2).toString() : '', String(headers[':authority']));
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, serving() ? 1 : 2]));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(server, { port: (server.address() as AddressInfo).port });
};

test('gRPC: the service is asked for by its name, and must be serving', async () => {
  let serving = true;
  const asked: string[] = [];
  const server = await grpcHealth(
    () => serving,
    (service, authority) => asked.push(`${service}@${authority}`),
  );
  try {
    const cluster = checked([server.port], { grpc_health_check: { service_name: 'pay.Payment' } }, { http2_protocol_options: {} });
    await using rig = await startPlane({ clusters: [cluster] });
    await eventually(() => isWarm(rig) && flags(rig)[0] === '', 'serving');
    assert.equal(asked[0], 'pay.Payment@c');
    serving = false;
    await eventually(() => flags(rig)[0] === 'failed', 'not serving');
  } finally {
    server.close();
  }
});

test("a host's own address, port and name for checks, and none at all", async () => {
  const heads: string[] = [];
  await using health: Backend = await httpBackend((_n, head) => {
    heads.push(head);
    return ok('');
  });
  await using one = await httpBackend(() => FAILING);
  const address = { socket_address: { address: '127.0.0.1', port_value: one.port } };
  const cluster = (config: object): Cluster => ({
    ...checked([], { http_health_check: { path: '/hc' } }),
    load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [{ endpoint: { address, health_check_config: config } }] }] },
  });
  await using rig = await startPlane({ clusters: [cluster({ port_value: health.port, hostname: 'own.test' })] });
  await eventually(() => isWarm(rig) && flags(rig)[0] === '', 'asked elsewhere');
  assert.match(heads[0] ?? '', /host: own\.test/);
  await using unasked = await startPlane({ clusters: [cluster({ disable_active_health_check: true })] });
  assert.ok(isWarm(unasked), 'nothing to wait for');
  assert.deepEqual(flags(unasked), ['']);
});

test('over TLS: with the cluster’s transport or the one that criteria choose, and protocols of its own', async () => {
  const authority = createAuthority('ca');
  const leaf = authority.issue({ dns: 'c.test' });
  const alpn: (string | false | null)[] = [];
  const server = createTlsServer({ cert: leaf.certificate, key: leaf.key, ALPNProtocols: ['hc', 'http/1.1'] }, (socket) => {
    alpn.push(socket.alpnProtocol);
    socket.on('error', () => {});
    socket.on('data', () => socket.write(ok('')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const tls: TransportSocket = {
    name: 'tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      sni: 'c.test',
      common_tls_context: { validation_context: { trusted_ca: { inline_string: authority.pem } } },
    },
  };
  const http_health_check = { path: '/hc' };
  try {
    const all = checked([port], { http_health_check, tls_options: { alpn_protocols: ['hc'] } }, { transport_socket: tls });
    await using rig = await startPlane({ clusters: [all] });
    await eventually(() => isWarm(rig) && flags(rig)[0] === '', 'well');
    assert.equal(alpn[0], 'hc');
    const chosen: Partial<Cluster> = { transport_socket_matches: [{ name: 'tls', match: { secure: true }, transport_socket: tls }] };
    await using plain = await startPlane({ clusters: [checked([port], { http_health_check, timeout: '0.2s' }, chosen)] });
    await eventually(() => isWarm(plain) && flags(plain)[0]?.includes('failed') === true, 'without TLS nobody answers');
    const criteria = checked([port], { http_health_check, transport_socket_match_criteria: { secure: true } }, chosen);
    await using matched = await startPlane({ clusters: [criteria] });
    await eventually(() => isWarm(matched) && flags(matched)[0] === '', 'by criteria');
  } finally {
    server.close();
  }
});

test('a host that leaves the endpoints stays while it is well, unless that is not wanted', async () => {
  let answer = ok('');
  await using one = await httpBackend(() => answer);
  await using two = await httpBackend(() => ok(''));
  for (const ignore of [false, true]) {
    answer = ok('');
    const eds = (ports: readonly number[]) => ({ ...staticCluster('c', ports).load_assignment, cluster_name: 'c' });
    const cluster: Cluster = {
      name: 'c',
      type: 'EDS',
      eds_cluster_config: { eds_config: { ads: {} } },
      health_checks: [{ ...OFTEN, http_health_check: { path: '/hc' } }],
      ignore_health_on_host_removal: ignore,
    };
    await using rig = await startPlane({ clusters: [cluster] });
    rig.plane.setEndpoints(eds([one.port, two.port]));
    await eventually(() => isWarm(rig), 'warm');
    rig.plane.setEndpoints(eds([two.port]));
    if (ignore) {
      assert.deepEqual(flags(rig), ['']);
      continue;
    }
    assert.deepEqual(flags(rig), ['', 'leaving']);
    answer = FAILING;
    await eventually(() => flags(rig).length === 1, 'gone once it fails');
  }
});

test('what cannot be checked is refused by name', () => {
  const refused = (check: HealthCheck | HealthCheck[], field: RegExp, http2 = false): void => {
    const health_checks = (Array.isArray(check) ? check : [check]).map((c) => ({ ...OFTEN, ...c }));
    assert.throws(
      () => compileHealth({ health_checks }, http2),
      (e) => e instanceof PlanError && field.test(`${e.message}`),
    );
  };
  const http = { http_health_check: { path: '/' } };
  refused([http, http], /Multiple health checks/);
  refused({ ...http, timeout: undefined }, /timeout/);
  refused({ ...http, interval: '0s' }, /interval/);
  refused({ ...http, unhealthy_threshold: undefined }, /unhealthy_threshold/);
  refused({ http_health_check: {} }, /path/);
  refused({ http_health_check: { path: '/', codec_client_type: 'HTTP3' } }, /HTTP3/);
  refused({ http_health_check: { path: '/', expected_statuses: [{ start: 200, end: 200 }] } }, /expected_statuses\[0\]/);
  refused({ http_health_check: { path: '/', send: { text: '00' } } }, /send/);
  refused({ tcp_health_check: { send: { text: '0g' } } }, /hex/);
  refused({ grpc_health_check: {} }, /HTTP\/2/);
  refused({ custom_health_check: { name: 'redis' } }, /redis/);
});
