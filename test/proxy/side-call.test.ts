// Requests of the proxy's own: through the cluster's balancer, pools and breakers, answered whole or failed by name, once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FilterTask, HttpFilterFactory } from '../../src/proxy/filters/http-filter.ts';
import { compileGrpcService, type GrpcOutcome, grpcUnary } from '../../src/proxy/grpc-side-call.ts';
import type { ProxyEnvironment } from '../../src/proxy/proxy-environment.ts';
import { type SideAnswer, type SideFailure, type SideRequest, sideCall } from '../../src/proxy/side-call.ts';
import { frameMessage } from '../../src/wire/grpc-frames.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { hcm, httpBackend, listener, ok, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER, http2Backend, protocolOptions } from './http2-peers.ts';

/** A plane of these clusters, and what its filters live in. */
const startRig = async (clusters: readonly Cluster[]) => {
  let env: ProxyEnvironment | undefined;
  const spy: HttpFilterFactory = {
    compile: (_config, _context, setting) => {
      env = setting.env;
      return {};
    },
  };
  const filter = { name: 'spy', typed_config: { '@type': 'type.googleapis.com/test.Spy' } };
  const rig = await startPlane(
    { clusters, listeners: [listener('in', hcm([toCluster('web')], { http_filters: [filter, ROUTER] }))] },
    { httpFilters: new Map([['test.Spy', spy]]) },
  );
  assert.ok(env);
  return { env, plane: rig.plane, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
};

const GET: SideRequest = {
  cluster: 'web',
  method: 'GET',
  authority: 'web.test',
  path: '/keys',
  headers: [['x-own', 'yes']],
  body: undefined,
  timeoutMs: 5000,
  answerBytesMax: 1000,
};

const ask = (env: ProxyEnvironment, request: SideRequest): Promise<SideAnswer | SideFailure> =>
  new Promise((resolve) => {
    let returned = false;
    sideCall(env, request, (outcome) => {
      assert.ok(returned, 'not before it has returned');
      resolve(outcome);
    });
    returned = true;
  });
const reasonOf = (outcome: SideAnswer | SideFailure): string => (outcome.kind === 'failure' ? outcome.reason : 'answer');

test('a side call brings the whole answer: status, headers of its own, body; its connection serves the next', async () => {
  await using web = await httpBackend((n) => ok(`key ${n}`, `x-n: ${n}\r\n`));
  await using rig = await startRig([staticCluster('web', [web.port])]);
  const first = await ask(rig.env, GET);
  const second = await ask(rig.env, { ...GET, method: 'POST', body: Buffer.from('hello') });
  assert.ok(first.kind === 'answer' && second.kind === 'answer');
  assert.deepEqual([first.status, first.body.toString(), first.headers.get('x-n')], [200, 'key 0', '0']);
  assert.deepEqual([second.body.toString(), second.headers.get('x-n')], ['key 1', '1']);
  assert.equal(web.sockets.length, 1);
  assert.match(
    web.received[0] ?? '',
    /^GET \/keys HTTP\/1.1\r\nhost: web.test\r\nx-own: yes\r\nx-envoy-internal: true\r\nx-forwarded-for: /,
  );
  assert.match(web.received[0] ?? '', /POST \/keys [\s\S]*content-length: 5\r\n\r\nhello$/);
});

test('a side call fails by name: no cluster, no host, refused connection, reset, an answer too large', async () => {
  await using web = await httpBackend((_, head) => (head.includes('/reset') ? 'reset' : 'x'.repeat(1001)));
  const clusters = [staticCluster('web', [web.port]), staticCluster('none', []), staticCluster('gone', [await freePort()])];
  await using rig = await startRig(clusters);
  assert.equal(reasonOf(await ask(rig.env, { ...GET, cluster: 'nobody' })), 'no-cluster');
  assert.equal(reasonOf(await ask(rig.env, { ...GET, cluster: 'none' })), 'no-host');
  assert.equal(reasonOf(await ask(rig.env, { ...GET, cluster: 'gone' })), 'connect');
  assert.equal(reasonOf(await ask(rig.env, { ...GET, path: '/reset' })), 'reset');
  assert.equal(reasonOf(await ask(rig.env, GET)), 'too-large');
  assert.equal(reasonOf(await ask(rig.env, { ...GET, answerBytesMax: 1001 })), 'answer');
});

test('a side call ends at its timeout, and counts as its cluster’s', async () => {
  await using web = await httpBackend(() => 'silent');
  await using rig = await startRig([staticCluster('web', [web.port])]);
  assert.equal(reasonOf(await ask(rig.env, { ...GET, timeoutMs: 30 })), 'timeout');
  assert.equal(rig.plane.stats.find('cluster.web.upstream_rq_timeout')?.value, 1);
  assert.equal(rig.plane.stats.find('cluster.web.upstream_rq_active')?.value, 0);
});

test('side calls obey the circuit breaker of their cluster', async () => {
  await using web = await httpBackend(() => 'silent');
  const limits = { circuit_breakers: { thresholds: [{ max_requests: 1, max_connections: 1, max_pending_requests: 1 }] } };
  await using rig = await startRig([staticCluster('web', [web.port], limits)]);
  const first = sideCall(rig.env, GET, () => assert.fail('it was cancelled'));
  assert.equal(reasonOf(await ask(rig.env, GET)), 'overflow');
  first.cancel();
});

test('a cancelled side call is not heard of again and gives its connection up', async () => {
  let cancel = (): void => {};
  await using web = await httpBackend(() => {
    cancel();
    return 'late';
  });
  await using rig = await startRig([staticCluster('web', [web.port])]);
  const task: FilterTask = sideCall(rig.env, GET, () => assert.fail('nobody listens'));
  await new Promise<void>((resolve) => {
    cancel = () => {
      task.cancel();
      resolve();
    };
  });
  assert.equal(rig.plane.stats.find('cluster.web.upstream_rq_active')?.value, 0);
  cancel = () => {};
  assert.equal(reasonOf(await ask(rig.env, GET)), 'answer');
  assert.equal(web.sockets.length, 2);
});

const CALL = {
  cluster: 'grpc',
  authority: 'auth.test',
  path: '/test.Service/Method',
  metadata: [['x-meta', 'm']] as const,
  message: Buffer.from('ping'),
  timeoutMs: 5000,
  answerBytesMax: 100,
};
const grpc = (env: ProxyEnvironment, more: Partial<typeof CALL> = {}): Promise<GrpcOutcome> =>
  new Promise((resolve) => {
    grpcUnary(env, { ...CALL, ...more }, resolve);
  });
/** A server of one method: the message back, or what the path asks for. */
const grpcServer = () =>
  http2Backend((stream, headers) => {
    const path = String(headers[':path']);
    if (path.includes('HeadersOnly')) {
      stream.respond({ 'content-type': 'application/grpc', 'grpc-status': '7', 'grpc-message': 'no%20way' }, { endStream: true });
      return;
    }
    if (path.includes('Http')) {
      stream.respond({ ':status': 503 }, { endStream: true });
      return;
    }
    const got: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => got.push(bytes));
    stream.on('end', () => {
      stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': path.includes('Late') ? '14' : '0' }));
      const message = Buffer.concat(got).subarray(5);
      if (path.includes('Big')) stream.write(frameMessage(Buffer.alloc(500)));
      else if (!path.includes('Empty')) stream.write(frameMessage(Buffer.from(`pong ${message}`)));
      stream.end();
    });
  });

test('a gRPC call brings its message, and every other end is a status', async () => {
  await using server = await grpcServer();
  await using rig = await startRig([staticCluster('grpc', [server.port], HTTP2_CLUSTER)]);
  const answer = await grpc(rig.env);
  assert.ok(answer.kind === 'message');
  assert.equal(Buffer.from(answer.bytes).toString(), 'pong ping');
  const head = server.heads[0] ?? {};
  assert.deepEqual(
    [head[':method'], head[':path'], head[':authority'], head['te'], head['content-type'], head['grpc-timeout'], head['x-meta']],
    ['POST', '/test.Service/Method', 'auth.test', 'trailers', 'application/grpc', '5000m', 'm'],
  );
  await new Promise<void>((resolve) => {
    grpcUnary(rig.env, { ...CALL, bare: true }, () => resolve());
  });
  const names = (n: number) => Object.keys(server.heads[n] ?? {}).filter((name) => name.startsWith('x-'));
  assert.deepEqual(
    [names(0), names(1)],
    [
      ['x-meta', 'x-envoy-internal', 'x-forwarded-for', 'x-envoy-expected-rq-timeout-ms'],
      ['x-meta', 'x-envoy-expected-rq-timeout-ms'],
    ],
  );
  const codeOf = async (path: string) => {
    const outcome = await grpc(rig.env, { path });
    return outcome.kind === 'status' ? [outcome.code, outcome.message] : 'message';
  };
  assert.deepEqual(await codeOf('/HeadersOnly'), [7, 'no way']);
  assert.deepEqual(await codeOf('/Late'), [14, '']);
  assert.deepEqual(await codeOf('/Http'), [14, 'HTTP status 503']);
  assert.equal((await codeOf('/Empty'))[0], 13);
  assert.equal((await codeOf('/Big'))[0], 8);
});

test('a gRPC call needs HTTP/2: a cluster that speaks what its client speaks will do, one of HTTP/1 is unavailable', async () => {
  await using server = await grpcServer();
  const likeClient = protocolOptions({ use_downstream_protocol_config: { http2_protocol_options: {} } });
  await using rig = await startRig([staticCluster('grpc', [server.port], likeClient), staticCluster('old', [server.port])]);
  assert.equal((await grpc(rig.env)).kind, 'message');
  assert.deepEqual(await grpc(rig.env, { cluster: 'old' }), {
    kind: 'status',
    code: 14,
    message: 'cluster old does not speak HTTP/2',
  });
  assert.equal((await grpc(rig.env, { cluster: 'nobody' })).kind, 'status');
});

test('a GrpcService is read; what cannot be honoured is refused by its field', () => {
  const service = { envoy_grpc: { cluster_name: 'auth' }, timeout: '0.5s', initial_metadata: [{ key: 'X-A', value: 'b' }] };
  assert.deepEqual(compileGrpcService(service, 'p'), {
    cluster: 'auth',
    authority: 'auth',
    timeoutMs: 500,
    metadata: [['x-a', 'b']],
    bare: false,
  });
  assert.equal(compileGrpcService({ envoy_grpc: { cluster_name: 'a', authority: 'n' } }, 'p').authority, 'n');
  assert.throws(() => compileGrpcService({ google_grpc: { target_uri: 'x' } }, 'p'), /p\.google_grpc/);
  assert.throws(() => compileGrpcService({}, 'p'), /p\.envoy_grpc\.cluster_name/);
  assert.throws(() => compileGrpcService({ ...service, retry_policy: {} }, 'p'), /p\.retry_policy/);
});
