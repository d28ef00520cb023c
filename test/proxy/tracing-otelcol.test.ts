// Spans as a real OpenTelemetry collector reads them, over HTTP and over gRPC (SKEIN_TEST_OTELCOL=1 sh test/setup builds it).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../free-port.ts';
import { startTracedPlane } from './tracing-plane.ts';

const COLLECTOR = join(process.env['SKEIN_TEST_CACHE'] ?? join(homedir(), '.cache/skein-test'), 'bin/otelcol');
const skip = existsSync(COLLECTOR) ? false : 'no OpenTelemetry collector here: SKEIN_TEST_OTELCOL=1 sh test/setup builds one';

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string };
}
interface Traces {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly { readonly name: string; readonly kind: number; readonly attributes: readonly Attribute[] }[];
    }[];
  }[];
}

const attribute = (attributes: readonly Attribute[], key: string): string | undefined =>
  attributes.find((a) => a.key === key)?.value.stringValue;

for (const tracer of ['otlp', 'grpc'] as const)
  test(`a real collector takes spans over ${tracer === 'grpc' ? 'gRPC' : 'HTTP'}`, { skip, timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'otelcol-'));
    const [http, grpc] = [await freePort(), await freePort()];
    const config = join(folder, 'config.yaml');
    writeFileSync(
      config,
      JSON.stringify({
        receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${http}` }, grpc: { endpoint: `127.0.0.1:${grpc}` } } } },
        exporters: { lines: {} },
        service: {
          telemetry: { metrics: { level: 'none' } },
          pipelines: { traces: { receivers: ['otlp'], exporters: ['lines'] } },
        },
      }),
    );
    const collector = spawn(COLLECTOR, [config], { stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(collector, 'exit');
    let said = '';
    const lines: Traces[] = [];
    let rest = '';
    collector.stderr.on('data', (bytes) => {
      said += bytes;
    });
    const told = new Promise<void>((resolve, reject) => {
      collector.on('exit', () => reject(new Error(said)));
      collector.stdout.on('data', (bytes) => {
        rest += bytes;
        for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
          lines.push(JSON.parse(rest.slice(0, end)) as Traces);
          rest = rest.slice(end + 1);
          resolve();
        }
      });
    });
    try {
      await using proxy = await startTracedPlane(tracer === 'grpc' ? grpc : http, tracer);
      // A report is given up after a few attempts: another request until the collector has begun and takes one.
      for (let heard = false; !heard; ) {
        assert.equal(await proxy.ask('/real'), 200);
        heard = await Promise.race([told.then(() => true), new Promise<false>((resolve) => setTimeout(() => resolve(false), 500))]);
      }
      const [resource] = lines[0]?.resourceSpans ?? [];
      const [span] = resource?.scopeSpans[0]?.spans ?? [];
      assert.equal(attribute(resource?.resource.attributes ?? [], 'service.name'), 'svc');
      assert.equal(span?.name, 'ingress');
      assert.equal(span?.kind, 2);
      assert.match(attribute(span?.attributes ?? [], 'http.url') ?? '', /\/real$/);
      assert.equal(attribute(span?.attributes ?? [], 'http.status_code'), '200');
    } finally {
      collector.kill('SIGKILL');
      await exited.catch(() => {});
      told.catch(() => {});
      rmSync(folder, { recursive: true, force: true });
    }
  });
