// Traces of a running mesh, read back from who collects them: one call through two services is one trace, whose spans nest as the calls did.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readOtlp, readZipkin, type SpanSeen } from '../proxy/tracing-rig.ts';
import { Mesh, ROOT } from './mesh.ts';
import { eventually, expect, type Suite } from './suite.ts';

const HOPS = { web: '', order: 'http://payment:8080', payment: '' };

const workload = (name: string, next: string, more = ''): string => `---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: production}
---
apiVersion: skein.dev/v1
kind: Workload
metadata: {name: ${name}, namespace: production, labels: {app: ${name}}${more}}
spec:
  serviceAccount: ${name}
  command: [bun, services/trace-hop.ts]
  env: {NEXT: '${next}'}
  ports: [{name: http, port: 8080}]
  readiness: {httpGet: {path: /reports, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: production}
spec:
  selector: {app: ${name}}
  ports: [{name: http, port: 8080}]
`;

const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata: {name: production, labels: {istio-injection: enabled}}
`;

const telemetry = (provider: string): string => `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: traces, namespace: production}
spec:
  tracing:
  - providers: [{name: ${provider}}]
    randomSamplingPercentage: 100
    customTags: {mesh: {literal: {value: shop}}}
`;

const COLLECTOR = 'collector.production.svc.cluster.local';
const MESH_CONFIG = `extensionProviders:
- name: otlp
  opentelemetry: {service: ${COLLECTOR}, port: 8080, http: {path: /v1/traces}}
- name: zipkin
  zipkin: {service: ${COLLECTOR}, port: 8080, path: /api/v2/spans, traceContextOption: USE_B3_WITH_W3C_PROPAGATION}
`;

const makeFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-traces-'));
  for (const name of ['mesh', 'services']) mkdirSync(join(folder, name));
  cpSync(join(ROOT, 'test/integration/trace-hop.ts'), join(folder, 'services/trace-hop.ts'));
  const workloads = Object.entries(HOPS).map(([name, next]) => workload(name, next));
  const collector = workload('collector', '', ", annotations: {sidecar.istio.io/inject: 'false'}").replace(
    "labels: {app: collector}, annotations: {sidecar.istio.io/inject: 'false'}",
    "labels: {app: collector, sidecar.istio.io/inject: 'false'}",
  );
  writeFileSync(join(folder, 'mesh/mesh.yaml'), [NAMESPACE, ...workloads, collector].join(''));
  writeFileSync(join(folder, 'mesh/telemetry.yaml'), telemetry('otlp'));
  writeFileSync(join(folder, 'mesh-config.yaml'), MESH_CONFIG);
  return folder;
};

const PARENT = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };

export const traceChecks = async (suite: Suite): Promise<void> => {
  const folder = makeFolder();
  const mesh = new Mesh({ port: 18_084, folder });
  try {
    const up = await suite.check('traces: up', async () => (await mesh.up()).slice(0, 0), 'always');
    if (!up) return;
    const traced = (header: string, path: string, count: number) => callTraced(mesh, header, path, count);
    await suite.check('traces: a W3C caller is continued through two services, over OTLP', async () => {
      const spans = await traced(`traceparent: 00-${PARENT.traceId}-${PARENT.spanId}-01`, '/otlp', 4);
      return nested(spans, PARENT.spanId);
    });
    await suite.check('traces: a service that forgets the context splits the trace', async () => {
      const spans = await traced(`traceparent: 00-1${PARENT.traceId.slice(1)}-${PARENT.spanId}-01`, '/forgets', 2);
      expect(spans.length === 2, `${spans.length} spans of the caller's trace`);
      return undefined;
    });
    await suite.check('traces: another provider takes the spans when Telemetry says so; a B3 caller is continued, to Zipkin', async () => {
      writeFileSync(join(mesh.dir, 'mesh/telemetry.yaml'), telemetry('zipkin'));
      return await eventually('spans at Zipkin', 15_000, async () => {
        const traceId = PARENT.traceId.replace('0af', `${Math.floor(Math.random() * 900 + 100)}`);
        const spans = await callTraced(mesh, `b3: ${traceId}-${PARENT.spanId}-1`, '/zipkin', 4, 2500);
        return nested(
          spans.filter(({ tags }) => tags['mesh'] === 'shop'),
          PARENT.spanId,
        );
      });
    });
  } finally {
    await mesh.skein('down');
    rmSync(folder, { recursive: true, force: true });
  }
};

interface Kept {
  readonly path: string;
  readonly body: string;
}

const callTraced = async (mesh: Mesh, header: string, path: string, count: number, withinMs = 20_000): Promise<readonly SpanSeen[]> => {
  const { name } = await mesh.workload('web');
  const asked = await mesh.exec(name, 'curl', '-sS', '--max-time', '5', '-H', header, `http://order:8080${path}`);
  expect(asked.out === 'ok', `the answer is ${asked.out} ${asked.err}`);
  const traceId = /[0-9a-f]{32}/.exec(header)?.[0];
  return await eventually(`${count} spans of ${traceId}`, withinMs, async () => {
    const { out } = await mesh.exec(name, 'curl', '-sS', '--max-time', '5', 'http://collector:8080/reports');
    const kept = JSON.parse(out) as readonly Kept[];
    const all = kept.flatMap(({ path: at, body }) => {
      if (at === '/v1/traces') return readOtlp(Buffer.from(body, 'base64'));
      return at === '/api/v2/spans' ? readZipkin(Buffer.from(body, 'base64')) : [];
    });
    const own = all.filter((span) => span.traceId === traceId);
    if (own.length < count) throw new Error(`${own.length} spans of ${all.length}`);
    return own;
  });
};

/** caller → web's client side → order's server side → order's client side → payment's server side, each within its parent. */
const nested = (spans: readonly SpanSeen[], callerSpan: string): string => {
  let parent = callerSpan;
  let outer: SpanSeen | undefined;
  const shape: string[] = [];
  for (let i = 0; i < 4; i++) {
    const span = spans.find(({ parentId }) => parentId === parent);
    if (span === undefined)
      throw new Error(`no span below ${parent}: ${JSON.stringify(spans.map((s) => [s.service, s.kind, s.parentId, s.id]))}`);
    shape.push(`${span.service} ${span.kind}`);
    if (outer !== undefined) {
      // Two processes read two clocks of one machine.
      const slack = 5000;
      if (span.startUs < outer.startUs - slack || span.startUs + span.durationUs > outer.startUs + outer.durationUs + slack)
        throw new Error(`${span.service} ${span.kind} lies outside its parent: ${JSON.stringify([outer, span])}`);
    }
    outer = span;
    parent = span.id;
  }
  const wanted = 'web.production client, order.production server, order.production client, payment.production server';
  expect(shape.join(', ') === wanted, `${shape.join(', ')}, not ${wanted}`);
  return shape.join(' > ');
};
