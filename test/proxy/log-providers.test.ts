// Log providers of the mesh, translated for our own sidecar as it announces itself, are taken by it: every kind, with its filter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { announcedNode } from '../../src/proxy/bootstrap/node.ts';
import { nodeTelemetry } from '../../src/translate/node-telemetry.ts';
import { decodeNamed, encodeNamed } from '../../src/xds/codec.ts';
import type { AccessLog, Node } from '../../src/xds/gen/types.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';
import { nodeOf } from '../translate/patch-fixture.ts';
import { hcm, httpBackend, listener, staticCluster, tcpProxy, toCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { ALS_PATH, httpEntries, logRecords, OTLP_PATH, startCollector, tcpEntries } from './log-collector.ts';
import { converse, request, startLogging } from './log-rig.ts';

const CLUSTER = 'outbound|4317||collector.obs.svc.cluster.local';
const service = { service: 'obs/collector.obs.svc.cluster.local', port: 4317 };
const YAML = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: c, namespace: obs}
spec:
  hosts: [collector.obs.svc.cluster.local]
  ports: [{number: 4317, name: grpc, protocol: GRPC}]
  resolution: STATIC
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: default}
spec:
  accessLogging:
  - providers: [{name: http}, {name: tcp}, {name: otel}]
    filter: {expression: "!has(request.path) || request.path != '/quiet'"}
`;
const MESH = {
  extensionProviders: [
    { name: 'http', envoyHttpAls: { ...service, logName: 'by-http', additionalRequestHeadersToLog: ['x-tag'] } },
    { name: 'tcp', envoyTcpAls: { ...service, logName: 'by-tcp' } },
    {
      name: 'otel',
      envoyOtelAls: {
        ...service,
        logName: 'by-otel',
        logFormat: { text: '%REQ(:PATH)% %RESPONSE_CODE%', labels: { code: '%RESPONSE_CODE%' } },
      },
    },
  ],
};

/** As they come over xDS. */
const decoded = (logs: readonly AccessLog[]): readonly AccessLog[] =>
  logs.map(
    (log) => decodeNamed('envoy.config.accesslog.v3.AccessLog', encodeNamed('envoy.config.accesslog.v3.AccessLog', log)) as AccessLog,
  );

test('our sidecar takes the logs of every kind of provider and sends what their filter lets through', async () => {
  const { snapshot } = buildSnapshot({ resources: resourcesOf(YAML), instances: [], meshConfig: meshConfigOf(MESH) });
  const announced: Partial<Node> = announcedNode({}, '0.0.0');
  const logs = nodeTelemetry(snapshot, nodeOf(announced, 'sidecar'));
  assert.deepEqual(logs.notes(), []);
  assert.equal(logs.accessLogs('outbound').length, 3);
  await using web = await httpBackend(() => 'x');
  await using collector = await startCollector();
  await using rig = await startLogging({
    clusters: [staticCluster('web', [web.port]), staticCluster('none', []), staticCluster(CLUSTER, [collector.port], HTTP2_CLUSTER)],
    listeners: [
      listener('in', hcm([toCluster('web')], { access_log: decoded(logs.accessLogs('outbound')) })),
      listener('tcp', tcpProxy('none', { access_log: decoded(logs.tcpLogs('outbound')) })),
    ],
  });
  await request(rig.port('in'), '/quiet');
  await request(rig.port('in'), '/loud', { headers: { 'x-tag': 't' } });
  await converse(rig.port('tcp'));
  await collector.until((m) => httpEntries(m).length >= 1 && logRecords(m).length >= 2 && tcpEntries(m).length >= 1);
  assert.deepEqual(
    // A connection is an entry there too, as of Envoy.
    httpEntries(collector.messages)
      .filter((e) => e['protocol_version'] !== undefined)
      .map((e) => [e['request'].path, e['request'].request_headers]),
    [['/loud', { 'x-tag': 't' }]],
  );
  const bodies = logRecords(collector.messages).map((r) => r['body'].string_value);
  assert.ok(bodies.includes('/loud 200') && !bodies.includes('/quiet 200'), bodies.join());
  const names = new Set(collector.messages.filter((m) => m.path === ALS_PATH).map((m) => m.body['identifier']?.log_name));
  assert.ok(names.has('by-http') && names.has('by-tcp'));
  assert.equal(collector.messages.find((m) => m.path === OTLP_PATH)?.headers[':authority'], 'collector.obs.svc.cluster.local');
});
