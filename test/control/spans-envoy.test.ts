// One trace through a real Envoy, the proxy, and an application, each of which reports its spans to a live control plane: the proxies through
// the agents beside them, by the cluster that the control plane gives them, the application by itself.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { type Agent, startAgent } from '../../src/agent/agent.ts';
import { createLog } from '../../src/base/log.ts';
import { TRACE_METHOD } from '../../src/control/telemetry/span-intake.ts';
import type { Trace } from '../../src/control/telemetry/trace.ts';
import type { SpanRecord } from '../../src/plan/tracing/span.ts';
import { encodeSpan, exportRequest } from '../../src/proxy/tracing/otlp-spans.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { controlPlaneCluster } from '../../src/translate/telemetry-providers.ts';
import type { Cluster, Listener } from '../../src/xds/gen/types.ts';
import { testConfig } from '../agent/setup.ts';
import { hcm, listener, startBackend, startPlane, staticCluster, toCluster } from '../proxy/harness.ts';
import { NO_ENVOY, startEnvoy } from '../proxy/stock-envoy.ts';
import { type Rig, startRig } from './rig.ts';

const traced = (name: string, cluster: string, direction: 'INBOUND' | 'OUTBOUND', collector: Cluster): Listener =>
  listener(
    name,
    hcm([toCluster(cluster)], {
      tracing: {
        provider: {
          name: 'envoy.tracers.opentelemetry',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig',
            service_name: 'whatever.else',
            grpc_service: { envoy_grpc: { cluster_name: collector.name ?? '' } },
          },
        },
      },
    }),
    { traffic_direction: direction },
  );

interface Side extends AsyncDisposable {
  readonly collector: Cluster;
}

/** An agent of that replica, connected to the control plane. */
const side = async (rig: Rig, name: string): Promise<Side> => {
  const token = await rig.token(name);
  const over = { name, namespace: 'default', serviceAccount: 'default', workload: name, token: () => token, summaries: true } as const;
  const config = testConfig(join(rig.root, name), {
    ...over,
    xds: rig.controlPlane.xds[0] ?? '',
    ips: ['10.0.0.1'],
    statusListener: 'proxy',
  });
  const quiet = createLog(
    'agent',
    () => undefined,
    () => new Date(),
  );
  const agent: Agent = await startAgent(config, quiet);
  const node = agent.bootstrap.node && parseNode(agent.bootstrap.node);
  assert.ok(node);
  return { collector: controlPlaneCluster(node), [Symbol.asyncDispose]: () => agent.stop() };
};

const get = (port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path: '/pay', agent: false }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end();
  });

const report = (address: string, token: string, bytes: Buffer): Promise<number> =>
  new Promise((resolve) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    const client = new Client(address, credentials.createInsecure());
    const raw = (b: Buffer): Buffer => b;
    client.makeUnaryRequest(TRACE_METHOD, raw, raw, bytes, metadata, (error) => {
      client.close();
      resolve(error?.code ?? 0);
    });
  });

const SPAN_ID = 'c0ffee0000000001';

test('spans of a real Envoy, of the proxy and of an application are one trace', { skip: NO_ENVOY }, async () => {
  const rig = await startRig({});
  let carried = '';
  try {
    await using web = await side(rig, 'web');
    await using order = await side(rig, 'order');
    await using app = await startBackend((socket, text) => {
      carried = /^traceparent: (.*?)\r$/im.exec(text)?.[1] ?? '';
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    });
    await using plane = await startPlane({
      clusters: [staticCluster('app', [app.port]), order.collector],
      listeners: [traced('in', 'app', 'INBOUND', order.collector)],
    });
    await using envoy = await startEnvoy(
      {
        clusters: [staticCluster('order', [plane.port('in')]), web.collector],
        listeners: [traced('out', 'order', 'OUTBOUND', web.collector)],
      },
      // Else it waits for five of them.
      { layered_runtime: { layers: [{ name: 'static', static_layer: { 'tracing.opentelemetry.min_flush_spans': 1 } }] } },
    );
    await get(envoy.port('out'));
    const [, traceId = '', parentId = ''] = carried.split('-');
    const own: SpanRecord = {
      ...{ traceId, parentId, spanId: SPAN_ID, state: '', remoteParent: true, kind: 'client', name: 'charge', status: 200, failed: false },
      ...{ startUs: Date.now() * 1000, durationUs: 10, tags: new Map(), events: [] },
    };
    const bytes = exportRequest(new Map([['service.name', 'payment-library']]))([encodeSpan(own)]);
    assert.equal(await report(rig.controlPlane.xds[0] ?? '', await rig.token('order'), bytes), 0);
    let trace: Trace | undefined;
    for (const until = Date.now() + 10_000; trace?.spans.length !== 3; ) {
      assert.ok(Date.now() < until, `reported: ${JSON.stringify(trace)} ${plane.problems.join('')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      ({ body: trace } = (await rig.admin('GET', `/v1/telemetry/traces/${traceId}`)) as { body: Trace & { error?: unknown } });
      if (trace.spans === undefined) trace = undefined;
    }
    const by = new Map(trace.spans.map((s) => [s.service, s]));
    assert.deepEqual([...by.keys()].sort(), ['order.default', 'payment-library', 'web.default']);
    assert.equal(by.get('web.default')?.parentSpanId, '');
    assert.deepEqual([by.get('web.default')?.kind, by.get('order.default')?.kind], ['client', 'server']);
    assert.equal(by.get('order.default')?.parentSpanId, by.get('web.default')?.spanId);
    assert.equal(by.get('payment-library')?.parentSpanId, by.get('order.default')?.spanId);
    assert.equal(trace.partial, false);
  } finally {
    await rig.close();
  }
});
