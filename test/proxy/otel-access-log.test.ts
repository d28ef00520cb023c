// Access logs for an OpenTelemetry collector: records as Envoy makes them, over gRPC and HTTP, and requests that do not notice what
// becomes of the collector.
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { AccessLog } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, staticCluster, toCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { decoded, logRecords, OTLP_PATH, type Sent, startCollector } from './log-collector.ts';
import { otelLog, request, startLogging } from './log-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const WRITTEN = 'access_logs.open_telemetry_access_log.logs_written';
const DROPPED = 'access_logs.open_telemetry_access_log.logs_dropped';
const BY_GRPC = { grpc_service: { envoy_grpc: { cluster_name: 'logs' } }, buffer_flush_interval: '0.02s' };
const text = (value: string) => ({ string_value: value });

const FULL = otelLog({
  ...BY_GRPC,
  log_name: 'shop',
  body: text('%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %REQ(X-ABSENT)%'),
  attributes: {
    values: [
      { key: 'code', value: text('%RESPONSE_CODE%') },
      { key: 'list', value: { array_value: { values: [text('%PROTOCOL%'), text('fixed')] } } },
      { key: 'map', value: { kvlist_value: { values: [{ key: 'agent', value: text('%REQ(USER-AGENT)%') }] } } },
    ],
  },
  resource_attributes: {
    values: [
      { key: 'region', value: text('r%PROTOCOL%') },
      { key: 'log_name', value: text('other') },
    ],
  },
  custom_tags: [{ tag: 'asked', request_header: { name: 'x-tag' } }],
});

const resources = (logs: number, web: number, log: AccessLog) => ({
  clusters: [staticCluster('web', [web]), staticCluster('logs', [logs], HTTP2_CLUSTER), staticCluster('plain', [logs])],
  listeners: [listener('in', hcm([toCluster('web')], { access_log: [log] }))],
});

const recordOf = (sent: Sent | undefined) => ({ body: sent?.['body'], attributes: sent?.['attributes'] });

test('records are those of Envoy: resource, body, attributes', { skip: NO_ENVOY }, async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector();
  await using logsOfEnvoy = await startCollector();
  await using rig = await startLogging(resources(logs.port, web.port, FULL));
  await using envoy = await startEnvoy(resources(logsOfEnvoy.port, web.port, FULL));
  for (const port of [rig.port('in'), envoy.port('in')]) await request(port, '/a?b=1', { headers: { 'x-tag': 't', 'user-agent': 'ua' } });
  await logs.until((m) => m.length === 1);
  await logsOfEnvoy.until((m) => m.length === 1);
  const [ours, theirs] = [logs.messages[0], logsOfEnvoy.messages[0]];
  assert.equal(ours?.path, OTLP_PATH);
  assert.deepEqual(recordOf(logRecords(logs.messages)[0]), recordOf(logRecords(logsOfEnvoy.messages)[0]));
  const keys = (sent: Sent | undefined): string[] =>
    sent?.['resource_logs'][0].resource.attributes.map(
      (a: Sent) => `${a['key']} ${/node|zone|cluster/.test(a['key']) ? '' : a['value'].string_value}`,
    );
  assert.deepEqual(keys(ours?.body), keys(theirs?.body));
});

test('what a record says: when, by whom, with which resource', async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector();
  await using rig = await startLogging(resources(logs.port, web.port, FULL));
  const before = Date.now();
  await request(rig.port('in'), '/a', { headers: { 'x-tag': 't' } });
  await logs.until((m) => m.length === 1);
  const [record] = logRecords(logs.messages);
  assert.deepEqual(record?.['body'], text('GET /a 200 -'));
  const at = Number(record?.['time_unix_nano']) / 1e6;
  assert.ok(at >= before - 1 && at <= Date.now() + 1);
  assert.deepEqual(record?.['attributes'].at(-1), { key: 'asked', value: text('t') });
  assert.deepEqual(
    logs.messages[0]?.body['resource_logs'][0].resource.attributes.map((a: Sent) => [a['key'], a['value'].string_value]),
    [
      ['log_name', 'other'],
      ['zone_name', 'z1'],
      ['cluster_name', 'shop'],
      ['node_name', 'sidecar~1'],
      ['region', 'r%PROTOCOL%'],
    ],
  );
});

test('records go by HTTP to a path of the collector, under the counters’ prefix', async () => {
  await using web = await httpBackend(() => 'x');
  const bodies: Buffer[] = [];
  const asked: string[] = [];
  const first = Promise.withResolvers<void>();
  const server: Server = createServer((req, res) => {
    const pieces: Buffer[] = [];
    req.on('data', (piece: Buffer) => pieces.push(piece));
    req.on('end', () => {
      asked.push(`${req.method} ${req.url} ${req.headers.host} ${req.headers['content-type']} ${req.headers['x-key']}`);
      bodies.push(Buffer.concat(pieces));
      res.end();
      first.resolve();
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const log = otelLog({
    http_service: {
      http_uri: { uri: 'http://collector.test/v1/logs', cluster: 'plain', timeout: '1s' },
      request_headers_to_add: [{ header: { key: 'x-key', value: 'k' } }],
    },
    buffer_flush_interval: '0.02s',
    stat_prefix: 'own',
    disable_builtin_labels: true,
    body: text('%REQ(:PATH)%'),
  });
  await using rig = await startLogging(resources((server.address() as AddressInfo).port, web.port, log));
  await request(rig.port('in'), '/by-http');
  await first.promise;
  assert.deepEqual(asked, ['POST /v1/logs collector.test application/x-protobuf k']);
  const records = decoded(OTLP_PATH, bodies[0] ?? Buffer.alloc(0))['resource_logs'][0].scope_logs[0].log_records;
  assert.deepEqual(
    records.map((r: Sent) => r['body'].string_value),
    ['/by-http'],
  );
  while (rig.count('access_logs.open_telemetry_access_log.own.logs_written') === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  server.closeAllConnections();
  server.close();
});

test('a collector that is away costs no request; what it has not taken in the end is counted, and it has the next when it is back', async () => {
  await using web = await httpBackend(() => 'x');
  const gone = await startCollector();
  const { port } = gone;
  await gone[Symbol.asyncDispose]();
  await using rig = await startLogging(
    resources(port, web.port, otelLog({ ...BY_GRPC, buffer_size_bytes: 0, body: text('%REQ(:PATH)%') })),
  );
  assert.equal(await request(rig.port('in'), '/lost'), 200);
  while (rig.count(DROPPED) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(rig.count(DROPPED), 1);
  await using logs = await startCollector({ port });
  await request(rig.port('in'), '/next');
  await logs.until((m) => logRecords(m).some((r) => r['body'].string_value === '/next'));
  while (rig.count(WRITTEN) === 0) await new Promise((resolve) => setTimeout(resolve, 2));
});

test('a collector that never answers holds so much and no more', async () => {
  await using web = await httpBackend(() => 'x');
  await using deaf = await startCollector({ deaf: true });
  await using rig = await startLogging(
    resources(deaf.port, web.port, otelLog({ ...BY_GRPC, buffer_size_bytes: 0, body: text('%REQ(X-BIG)%') })),
  );
  const big = 'x'.repeat(12_000);
  let asked = 0;
  while (rig.count(DROPPED) === 0 && asked < 300) {
    assert.equal(await request(rig.port('in'), '/', { headers: { 'x-big': big } }), 200);
    asked++;
  }
  assert.ok(rig.count(DROPPED) > 0 && asked > 10, `${asked} records of 12 kB were held`);
});

test('values that are no texts are refused with their field, as by Envoy', async () => {
  await using web = await httpBackend(() => 'x');
  const refusal = async (fields: object): Promise<string> => {
    try {
      await using _ = await startLogging(resources(1, web.port, otelLog({ ...BY_GRPC, ...fields })));
      return 'taken';
    } catch (problem) {
      return problem instanceof Error ? problem.message : '';
    }
  };
  assert.match(
    await refusal({ attributes: { values: [{ key: 'n', value: { int_value: 5 } }] } }),
    /attributes\.values\[0\]\.value.*only texts/,
  );
  assert.match(await refusal({ body: { bool_value: true } }), /body.*only texts/);
  assert.match(await refusal({ http_service: { http_uri: { uri: 'http://a/b', cluster: 'plain', timeout: '1s' } } }), /http_service/);
  assert.match(await refusal({ formatters: [{ name: 'other' }] }), /formatters\[0\].*other is not supported/);
});
