// Istio's standard metrics: names, labels, who is told as whom, and that a second exchange makes no new series.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { GrpcMessages } from '../../src/plan/grpc-messages.ts';
import { FLAG } from '../../src/plan/response-flag.ts';
import { type CertificateFacts, StreamInfo } from '../../src/plan/stream-info.ts';
import type { ListenerContext } from '../../src/proxy/exchange/observer.ts';
import { DOWNSTREAM_PEER } from '../../src/proxy/telemetry/parties.ts';
import { createPeerMetadata, PEER_METADATA_HEADER, PEER_METADATA_ID_HEADER } from '../../src/proxy/telemetry/peer-metadata.ts';
import { peerMetadataFilter } from '../../src/proxy/telemetry/peer-metadata-filter.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import { HeaderBlock } from '../../src/wire/header-block.ts';
import type { AnyMessage, JsonObject, Node } from '../../src/xds/gen/types.ts';
import { ManualClock } from './xds-fixture.ts';

const node = (name: string, version: string): Node => ({
  id: `sidecar~10.0.0.1~${name}-0.shop~shop.svc.cluster.local`,
  metadata: {
    NAME: `${name}-0`,
    NAMESPACE: 'shop',
    WORKLOAD_NAME: `${name}-${version}`,
    CLUSTER_ID: 'Kubernetes',
    LABELS: { app: name, version },
    SECRET_THING: 'x',
  },
});

const STATS: AnyMessage = { '@type': 'type.googleapis.com/stats.PluginConfig' };
const context = (direction: 'INBOUND' | 'OUTBOUND', stats: AnyMessage = STATS): ListenerContext => ({
  kind: 'http',
  listenerName: 'l',
  direction,
  statPrefix: 'p',
  accessLog: [],
  filters: [{ name: 'istio.stats', typedConfig: stats }],
  observed: undefined,
});

const certificate = (uri: string): CertificateFacts => ({
  subject: '',
  issuer: '',
  uriSans: [uri],
  dnsSans: [],
  ipSans: [],
  emailSans: [],
  serial: '',
  sha256Fingerprint: '',
  sha1Fingerprint: '',
  pem: '',
  notBefore: 0,
  notAfter: 0,
});
const tls = (peer: string, local: string) => ({
  version: 'TLSv1.3',
  cipher: '',
  sessionId: '',
  peer: certificate(peer),
  local: certificate(local),
  validated: true,
});

const rig = () => {
  const own = createPeerMetadata(node('web', 'v1')).own;
  return new Telemetry({ own, version: '0.1.0', clock: new ManualClock(), random: () => 0 });
};

/** Labels of the only series of a metric. */
const labelsOf = (t: Telemetry, name: string): { [label: string]: string } => {
  const lines = t.registry
    .render()
    .split('\n')
    .filter((l) => l.startsWith(`${name}{`));
  assert.equal(lines.length, 1, lines.join('\n'));
  return Object.fromEntries([...(lines[0] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1] ?? '', m[2] ?? '']));
};

const outbound = (): StreamInfo => {
  const info = new StreamInfo();
  info.startTime = 1000;
  info.endTime = 1007;
  info.responseCode = 200;
  info.authority = 'payment:8080';
  info.upstreamClusterRaw = 'outbound|8080||payment.shop.svc.cluster.local';
  info.clusterMetadata = {
    filter_metadata: { istio: { services: [{ host: 'payment.shop.svc.cluster.local', name: 'payment', namespace: 'shop' }] } },
  };
  info.upstreamHostMetadata = { filter_metadata: { istio: { workload: 'payment-v2;shop;payment;v2;Kubernetes' } } };
  info.upstreamTls = tls('spiffe://cluster.local/ns/shop/sa/payment', 'spiffe://cluster.local/ns/shop/sa/web');
  return info;
};

describe('Istio metrics', () => {
  test('an outbound exchange is told with every label', () => {
    const t = rig();
    const c = context('OUTBOUND');
    t.prepare(c);
    t.httpDone(outbound(), undefined, undefined, undefined, c);
    assert.deepEqual(labelsOf(t, 'istio_requests_total'), {
      reporter: 'source',
      source_workload: 'web-v1',
      source_canonical_service: 'web',
      source_canonical_revision: 'v1',
      source_workload_namespace: 'shop',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/web',
      source_app: 'web',
      source_version: 'v1',
      source_cluster: 'Kubernetes',
      destination_workload: 'payment-v2',
      destination_canonical_service: 'payment',
      destination_canonical_revision: 'v2',
      destination_workload_namespace: 'shop',
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/payment',
      destination_app: 'unknown',
      destination_version: 'unknown',
      destination_cluster: 'Kubernetes',
      destination_service: 'payment.shop.svc.cluster.local',
      destination_service_name: 'payment',
      destination_service_namespace: 'shop',
      request_protocol: 'http',
      response_code: '200',
      grpc_response_status: '',
      response_flags: '-',
      connection_security_policy: 'unknown',
    });
    const text = t.registry.render();
    assert.match(text, /istio_request_duration_milliseconds_bucket\{[^}]*le="5"\} 0\n/);
    assert.match(text, /istio_request_duration_milliseconds_bucket\{[^}]*le="10"\} 1\n/);
    assert.match(text, /istio_request_duration_milliseconds_bucket\{[^}]*le="0\.5"\}/);
    assert.match(text, /istio_build\{component="proxy",tag="0\.1\.0"\} 1/);
  });

  test('an inbound exchange knows its caller by metadata, by certificate, or not at all', () => {
    const cases: readonly [string, (i: StreamInfo) => void, { [label: string]: string }][] = [
      [
        'metadata',
        (i) => {
          i.filterState[DOWNSTREAM_PEER] = createPeerMetadata(node('caller', 'v3')).own as unknown as JsonObject;
          i.downstreamTls = tls('spiffe://cluster.local/ns/shop/sa/caller', 'spiffe://cluster.local/ns/shop/sa/web');
        },
        { source_workload: 'caller-v3', source_app: 'caller', connection_security_policy: 'mutual_tls' },
      ],
      [
        'certificate',
        (i) => {
          i.downstreamTls = tls('spiffe://cluster.local/ns/other/sa/x', 'spiffe://cluster.local/ns/shop/sa/web');
        },
        { source_workload: 'unknown', source_workload_namespace: 'other', source_principal: 'spiffe://cluster.local/ns/other/sa/x' },
      ],
      [
        'nothing',
        () => undefined,
        { source_principal: 'unknown', source_canonical_revision: 'unknown', connection_security_policy: 'none' },
      ],
    ];
    for (const [what, make, expected] of cases) {
      const t = rig();
      const c = context('INBOUND');
      t.prepare(c);
      const info = new StreamInfo();
      info.responseCode = 403;
      info.upstreamClusterRaw = 'inbound|8080||';
      make(info);
      t.httpDone(info, undefined, undefined, undefined, c);
      const labels = labelsOf(t, 'istio_requests_total');
      assert.equal(labels['reporter'], 'destination');
      assert.equal(labels['destination_workload'], 'web-v1');
      for (const [label, value] of Object.entries(expected)) assert.equal(labels[label], value, `${what}: ${label}`);
    }
  });

  test('a waypoint tells of both its sides, whatever its listener’s direction is', () => {
    const t = rig();
    const c = context('OUTBOUND', { ...STATS, reporter: 'SERVER_GATEWAY' } as AnyMessage);
    t.prepare(c);
    const info = outbound();
    info.filterState[DOWNSTREAM_PEER] = createPeerMetadata(node('caller', 'v3')).own as unknown as JsonObject;
    info.downstreamTls = tls('spiffe://cluster.local/ns/shop/sa/caller', 'spiffe://cluster.local/ns/shop/sa/waypoint');
    t.httpDone(info, undefined, undefined, undefined, c);
    const labels = labelsOf(t, 'istio_requests_total');
    const expected = {
      reporter: 'waypoint',
      source_workload: 'caller-v3',
      source_principal: 'spiffe://cluster.local/ns/shop/sa/caller',
      destination_workload: 'payment-v2',
      destination_canonical_service: 'payment',
      destination_principal: 'unknown',
      destination_service: 'payment.shop.svc.cluster.local',
      destination_service_name: 'payment',
      connection_security_policy: 'mutual_tls',
    };
    for (const [label, value] of Object.entries(expected)) assert.equal(labels[label], value, label);
    info.upstreamHostMetadata = { filter_metadata: { istio: { workload: 'payment-v3;shop;payment;v3;Kubernetes' } } };
    t.httpDone(info, undefined, undefined, undefined, c);
    assert.match(t.registry.render(), /istio_requests_total\{[^}]*destination_workload="payment-v3"/);
  });

  test('catch-all clusters, flags, gRPC and the host header', () => {
    const t = rig();
    const c = context('OUTBOUND');
    t.prepare(c);
    const info = new StreamInfo();
    info.upstreamClusterRaw = 'PassthroughCluster';
    info.authority = 'example.com';
    info.setFlag(FLAG.UF);
    info.setFlag(FLAG.URX);
    info.responseCode = 503;
    const request = new HeaderBlock();
    request.set('content-type', 'application/grpc+proto');
    const trailers = new HeaderBlock();
    trailers.set('grpc-status', '14');
    t.httpDone(info, request, undefined, trailers, c);
    const labels = labelsOf(t, 'istio_requests_total');
    assert.equal(labels['destination_service_name'], 'PassthroughCluster');
    assert.equal(labels['destination_service'], 'example.com');
    assert.equal(labels['response_flags'], 'UF,URX');
    assert.equal(labels['request_protocol'], 'grpc');
    assert.equal(labels['grpc_response_status'], '14');
    const without = context('OUTBOUND', { '@type': 'type.googleapis.com/stats.PluginConfig', disable_host_header_fallback: true });
    const t2 = rig();
    t2.prepare(without);
    t2.httpDone(info, undefined, undefined, undefined, without);
    assert.equal(labelsOf(t2, 'istio_requests_total')['destination_service'], 'unknown');
  });

  test('a hundred equal exchanges are one series', () => {
    const t = rig();
    const c = context('OUTBOUND');
    t.prepare(c);
    for (let i = 0; i < 100; i++) t.httpDone(outbound(), undefined, undefined, undefined, c);
    assert.match(t.registry.render(), /istio_requests_total\{[^}]*\} 100\n/);
  });

  test('messages of a gRPC call are told while it lives and at its end, without what only the end knows', () => {
    const t = rig();
    const c = context('OUTBOUND');
    const counting = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig', emit_filter_state: true };
    const counted = { ...c, filters: [...c.filters, { name: 'envoy.filters.http.grpc_stats', typedConfig: counting }] };
    const info = outbound();
    info.grpc = new GrpcMessages();
    const value = (name: string): string => new RegExp(`${name}\\{[^}]*\\} (\\d+)\\n`).exec(t.registry.render())?.[1] ?? '';
    t.prepare(c);
    t.httpProgress(info, c);
    assert.equal(value('istio_request_messages_total'), '');
    t.prepare(counted);
    info.grpc.request.messages = 2;
    t.httpProgress(info, counted);
    assert.equal(value('istio_request_messages_total'), '2');
    info.grpc.request.messages = 3;
    info.grpc.response.messages = 5;
    info.responseCode = 200;
    t.httpDone(info, undefined, undefined, undefined, counted);
    assert.equal(value('istio_request_messages_total'), '3');
    assert.equal(value('istio_response_messages_total'), '5');
    const labels = labelsOf(t, 'istio_request_messages_total');
    assert.equal(labels['reporter'], 'source');
    for (const absent of ['request_protocol', 'response_code', 'grpc_response_status', 'response_flags'])
      assert.ok(!(absent in labels), absent);
    // An answer without a gRPC status is the one that its HTTP code stands for.
    assert.equal(labelsOf(t, 'istio_requests_total')['grpc_response_status'], '2');
  });

  test('a call whose far end is not known yet tells its messages at its end', () => {
    const t = rig();
    const c = context('INBOUND');
    const counting = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig', emit_filter_state: true };
    const counted = { ...c, filters: [...c.filters, { name: 'g', typedConfig: counting }] };
    t.prepare(counted);
    const info = new StreamInfo();
    info.grpc = new GrpcMessages();
    info.grpc.request.messages = 1;
    t.httpProgress(info, counted);
    assert.ok(!t.registry.render().includes('istio_request_messages_total'));
    t.httpDone(info, undefined, undefined, undefined, counted);
    assert.match(t.registry.render(), /istio_request_messages_total\{[^}]*\} 1\n/);
  });

  test('series that nothing is added to are forgotten, others keep their counts', () => {
    const clock = new ManualClock();
    const t = new Telemetry({ own: createPeerMetadata({}).own, version: '', clock, random: () => 0, rotateMs: 60_000 });
    const c = context('OUTBOUND');
    t.prepare(c);
    const count = (code: number): void => {
      const info = outbound();
      info.responseCode = code;
      t.httpDone(info, undefined, undefined, undefined, c);
    };
    const codes = (): string[] =>
      [...t.registry.render().matchAll(/istio_requests_total\{[^}]*response_code="(\d+)"[^}]*\} (\d+)/g)].map((m) => `${m[1]}:${m[2]}`);
    count(200);
    count(404);
    clock.advance(60_000);
    assert.deepEqual(codes(), ['200:1', '404:1']);
    count(200);
    clock.advance(60_000);
    assert.deepEqual(codes(), ['200:2']);
    count(404);
    assert.deepEqual(codes(), ['200:2', '404:1']);
  });

  test('callers cannot make series without bound', () => {
    const clock = new ManualClock();
    const t = new Telemetry({ own: createPeerMetadata({}).own, version: '', clock, random: () => 0 });
    const c = context('OUTBOUND');
    t.prepare(c);
    const info = new StreamInfo();
    info.upstreamClusterRaw = 'PassthroughCluster';
    const call = (host: string): void => {
      info.authority = host;
      t.httpDone(info, undefined, undefined, undefined, c);
    };
    const size = (): number => [...t.registry.families()].find((f) => f.name === 'istio_requests_total')?.size ?? 0;
    for (let i = 0; i < 10_100; i++) call(`h${i}.example.com`);
    assert.equal(size(), 10_001);
    clock.advance(60_000);
    clock.advance(60_000);
    assert.equal(size(), 0);
    call('later.example.com');
    assert.equal(labelsOf(t, 'istio_requests_total')['destination_service'], 'later.example.com');
  });

  test('histogram bounds are those of the first setting that matches the name', () => {
    const t = new Telemetry({
      own: createPeerMetadata({}).own,
      version: '',
      clock: new ManualClock(),
      random: () => 0,
      buckets: [{ match: { prefix: 'istiocustom' }, buckets: [10, 1, 5] }],
    });
    const c = context('OUTBOUND');
    t.prepare(c);
    t.httpDone(outbound(), undefined, undefined, undefined, c);
    const bounds = [...t.registry.render().matchAll(/istio_request_bytes_bucket\{[^}]*le="([^"]+)"/g)].map((m) => m[1]);
    assert.deepEqual(bounds, ['1', '5', '10', '+Inf']);
  });

  test('TCP: opened and closed once, bytes by difference', () => {
    const t = rig();
    const c: ListenerContext = { ...context('OUTBOUND'), kind: 'tcp' };
    t.prepare(c);
    const info = outbound();
    t.tcpOpened(info, c);
    info.bytesReceived = 10;
    info.bytesSent = 100;
    t.tcpProgress(info, c);
    info.bytesReceived = 15;
    info.bytesSent = 300;
    t.tcpProgress(info, c);
    t.tcpClosed(info, c);
    const text = t.registry.render();
    for (const [name, value] of [
      ['istio_tcp_received_bytes_total', 15],
      ['istio_tcp_sent_bytes_total', 300],
      ['istio_tcp_connections_opened_total', 1],
      ['istio_tcp_connections_closed_total', 1],
    ] as const)
      assert.match(text, new RegExp(`${name}\\{[^}]*request_protocol="tcp"[^}]*\\} ${value}\\n`));
    assert.ok(!text.includes('istio_requests_total{'));
  });

  test('overrides: dropped metrics and labels', () => {
    const t = rig();
    const config = {
      '@type': 'type.googleapis.com/stats.PluginConfig',
      metrics: [{ name: 'request_bytes', drop: true }, { tags_to_remove: ['source_app'] }],
    };
    const c = context('OUTBOUND', config);
    t.prepare(c);
    t.httpDone(outbound(), undefined, undefined, undefined, c);
    assert.ok(!t.registry.render().includes('istio_request_bytes'));
    assert.equal(labelsOf(t, 'istio_requests_total')['source_app'], undefined);
  });

  test('without the stats filter nothing is told', () => {
    const t = rig();
    const c = { ...context('OUTBOUND'), filters: [] };
    t.prepare(c);
    t.httpDone(outbound(), undefined, undefined, undefined, c);
    assert.ok(!t.registry.render().includes('istio_requests_total'));
  });

  test('a thousand series are rendered', () => {
    const registry = new MetricRegistry();
    const family = registry.counter('x_total', 'x');
    for (let i = 0; i < 1000; i++) family.series([['i', String(i)]]).value = i;
    assert.equal(registry.render().split('\n').length, 1003);
  });
});

describe('peer metadata', () => {
  const exchangeOf = (requestHeaders: HeaderBlock) =>
    ({ info: new StreamInfo(), requestHeaders }) as unknown as Parameters<
      NonNullable<ReturnType<ReturnType<typeof peerMetadataFilter>['compile']>['onRequest']>
    >[0];

  test('what one side writes the other reads, and only what concerns it', () => {
    const headers = new HeaderBlock();
    createPeerMetadata(node('web', 'v1')).addOwn(headers);
    const decoded = Buffer.from(headers.get(PEER_METADATA_HEADER) ?? '', 'base64').toString('latin1');
    assert.ok(decoded.includes('WORKLOAD_NAME') && !decoded.includes('SECRET_THING'));
    assert.match(headers.get(PEER_METADATA_ID_HEADER) ?? '', /^sidecar~/);
    const reader = createPeerMetadata(node('other', 'v9'));
    const peer = reader.readPeer(headers);
    assert.equal(peer?.workload, 'web-v1');
    assert.equal(peer?.canonicalService, 'web');
    assert.equal(reader.readPeer(headers), peer, 'decoded once');
    reader.strip(headers);
    assert.equal(reader.readPeer(headers), undefined);
    headers.set(PEER_METADATA_HEADER, '!!!notbase64');
    assert.equal(reader.readPeer(headers)?.workload ?? '', '');
  });

  test('more peers than are compared byte by byte are told apart, again and again', () => {
    const reader = createPeerMetadata(node('other', 'v9'));
    const told = Array.from({ length: 9 }, (_, i) => {
      const headers = new HeaderBlock();
      createPeerMetadata(node(`web${i}`, 'v1')).addOwn(headers);
      return headers;
    });
    const first = told.map((headers) => reader.readPeer(headers));
    assert.deepEqual(
      first.map((peer) => peer?.workload),
      told.map((_, i) => `web${i}-v1`),
    );
    for (let turn = 0; turn < 3; turn++) for (const [i, headers] of told.entries()) assert.equal(reader.readPeer(headers), first[i]);
  });

  test('the filter does what its configuration says, on either side', () => {
    const client = peerMetadataFilter(createPeerMetadata(node('web', 'v1')));
    const server = peerMetadataFilter(createPeerMetadata(node('payment', 'v2')));
    const wrapped = (value: JsonObject): AnyMessage => ({
      '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
      type_url: 'type.googleapis.com/io.istio.http.peer_metadata.Config',
      value,
    });
    const out = client.compile(wrapped({ upstream_discovery: [{ istio_headers: {} }], upstream_propagation: [{ istio_headers: {} }] }));
    const inn = server.compile(wrapped({ downstream_discovery: [{ istio_headers: {} }], downstream_propagation: [{ istio_headers: {} }] }));
    const wire = new HeaderBlock();
    const clientSide = exchangeOf(wire);
    out.onRequest?.(clientSide, undefined);
    assert.ok(wire.has(PEER_METADATA_HEADER));
    const serverSide = exchangeOf(wire);
    inn.onRequest?.(serverSide, undefined);
    assert.ok(!wire.has(PEER_METADATA_HEADER), 'the application does not see it');
    assert.equal((serverSide.info.filterState[DOWNSTREAM_PEER] as JsonObject)['workload'], 'web-v1');
    const response = new HeaderBlock();
    inn.onResponse?.(serverSide, response, undefined);
    assert.ok(response.has(PEER_METADATA_HEADER));
    out.onResponse?.(clientSide, response, undefined);
    assert.ok(!response.has(PEER_METADATA_HEADER));
    assert.equal((clientSide.info.filterState['upstream_peer'] as JsonObject)['workload'], 'payment-v2');
    const stranger = exchangeOf(new HeaderBlock());
    inn.onRequest?.(stranger, undefined);
    const toStranger = new HeaderBlock();
    inn.onResponse?.(stranger, toStranger, undefined);
    assert.ok(!toStranger.has(PEER_METADATA_HEADER), 'a caller outside the mesh is told nothing');
  });
});
