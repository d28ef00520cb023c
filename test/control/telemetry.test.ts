// What proxies tell a live control plane, and what it answers: streams over its gRPC port, questions over its admin API.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { ACCESS_LOG_METHOD, METRICS_METHOD } from '../../src/control/telemetry/receivers.ts';
import { encodeLabels, metricsIdentifier, writeFamily, writeHistogram, writeValue } from '../../src/proxy/telemetry/metrics-message.ts';
import { encode } from '../../src/xds/codec.ts';
import type { Node, StreamAccessLogsMessage } from '../../src/xds/gen/types.ts';
import { Writer } from '../../src/xds/wire-format.ts';
import { eventually, type Rig, startRig } from './rig.ts';

const raw = (bytes: Buffer): Buffer => bytes;

class Sender {
  status: StatusObject | undefined;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;

  constructor(address: string, method: string, token: string) {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    this.#client = new Client(address, credentials.createInsecure());
    this.#call = this.#client.makeBidiStreamRequest(method, raw, raw, metadata);
    senders.push(this);
    this.#call.on('data', () => undefined);
    this.#call.on('error', () => undefined);
    this.#call.on('status', (status: StatusObject) => {
      this.status = status;
    });
  }

  send(bytes: Uint8Array): void {
    this.#call.write(Buffer.from(bytes));
  }

  close(): void {
    this.#call.end();
    this.#client.close();
  }
}

const nodeOf = (name: string, metadata: Record<string, string> = {}): Node => ({
  id: `sidecar~10.0.0.1~${name}.default~default.svc.cluster.local`,
  metadata: { WORKLOAD_NAME: name, ...metadata },
});

interface Row {
  readonly source: { readonly workload: string } | null;
  readonly destination: { readonly workload: string; readonly service: string; readonly version: string };
  readonly route: string | null;
  readonly requests: number;
  readonly errors: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly mtls: string;
  readonly tcp: unknown;
}
interface SummaryBody {
  readonly source: string;
  readonly complete: boolean;
  readonly notes: readonly string[];
  readonly rows: readonly Row[];
}

/** Whatever happens, nothing stays open. */
const withRig = async (
  act: (rig: Rig, address: string) => Promise<void>,
  overrides: Parameters<typeof startRig>[1] = {},
): Promise<void> => {
  const rig = await startRig({}, overrides);
  try {
    await act(rig, rig.controlPlane.xds[0] ?? '');
  } finally {
    for (const sender of senders.splice(0)) sender.close();
    await rig.close();
  }
};

const senders: Sender[] = [];

const summary = async (rig: Rig, query = ''): Promise<SummaryBody> => {
  const { status, body } = await rig.admin('GET', `/v1/telemetry/summary?${query}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body as SummaryBody;
};

const requestsIn = async (rig: Rig, query: string): Promise<number> => (await summary(rig, query)).rows.reduce((n, r) => n + r.requests, 0);

const until = async (what: string, read: () => Promise<boolean>): Promise<void> => {
  let yes = false;
  let asking = false;
  await eventually(what, () => {
    if (!yes && !asking) {
      asking = true;
      void read()
        .then((found) => {
          yes = found;
        })
        .catch(() => {})
        .finally(() => {
          asking = false;
        });
    }
    return yes;
  });
};

const labels = (reporter: string, more: Record<string, string> = {}): Uint8Array =>
  encodeLabels(
    Object.entries({
      reporter,
      source_workload: 'web',
      source_workload_namespace: 'default',
      destination_workload: 'order',
      destination_workload_namespace: 'default',
      destination_service: 'order.default.svc.cluster.local',
      destination_canonical_revision: 'v1',
      request_protocol: 'http',
      connection_security_policy: reporter === 'destination' ? 'mutual_tls' : 'unknown',
      route: 'default',
      ...more,
    }),
  );

const counted = (reporter: string, ok: number, failed: number): Uint8Array => {
  const w = new Writer();
  writeFamily(w, 'istio_requests_total', 'counter', () => {
    writeValue(w, 'counter', labels(reporter, { response_code: '200' }), ok);
    writeValue(w, 'counter', labels(reporter, { response_code: '503' }), failed);
  });
  writeFamily(w, 'istio_request_duration_milliseconds', 'histogram', () =>
    writeHistogram(w, labels(reporter), 10 * (ok + failed), [5, 10, 25], [0, ok + failed, 0, 0], false),
  );
  return w.finish();
};

const httpEntry = (status: number, requestId: string, more: object = {}) => ({
  common_properties: {
    start_time: new Date().toISOString(),
    duration: '0.012s',
    upstream_cluster: 'outbound|80|v2|pay.default.svc.cluster.local',
    upstream_remote_address: { socket_address: { address: '10.0.0.9', port_value: 8080 } },
    route_name: 'to-pay',
    ...more,
  },
  request: { request_method: 'POST', path: '/charge?card=4111', authority: 'pay', request_id: requestId } as const,
  response: { response_code: status },
});

const logs = (message: StreamAccessLogsMessage): Uint8Array => encode('envoy.service.accesslog.v3.StreamAccessLogsMessage', message);

test('both sides of a call count once, errors and percentiles come out, and the called side says how it is secured', () =>
  withRig(async (rig, address) => {
    const web = new Sender(address, METRICS_METHOD, await rig.token('web'));
    const order = new Sender(address, METRICS_METHOD, await rig.token('order', { address: '' }));
    web.send(metricsIdentifier(nodeOf('web', { SKEIN_SUMMARIES: 'true' })));
    order.send(
      metricsIdentifier({
        ...nodeOf('order', { SKEIN_SUMMARIES: 'true' }),
        id: 'sidecar~10.0.0.2~order.default~default.svc.cluster.local',
      }),
    );
    web.send(counted('source', 90, 10));
    order.send(counted('destination', 90, 5));
    await until('both have told', async () => (await summary(rig, 'by=edge')).rows[0]?.mtls === 'mutual_tls');
    const { rows, source } = await summary(rig, 'by=edge&window=60');
    assert.equal(source, 'embedded');
    assert.equal(rows.length, 1);
    const [row] = rows;
    assert.deepEqual([row?.source?.workload, row?.destination.workload, row?.requests, row?.errors], ['web', 'order', 100, 10]);
    assert.ok(row?.p50 !== undefined && row.p50 !== null && row.p50 > 5 && row.p50 <= 10, `p50 ${row?.p50}`);
    const byRoute = await summary(rig, 'by=route&host=order');
    assert.deepEqual([byRoute.rows.length, byRoute.rows[0]?.route, byRoute.rows[0]?.requests], [1, 'default', 100]);
    assert.equal((await summary(rig, 'by=version')).rows[0]?.destination.version, 'v1');
  }));

test('counters from the start of a proxy are counted from the second message on, and begin anew when it does', () =>
  withRig(async (rig, address) => {
    const web = new Sender(address, METRICS_METHOD, await rig.token('web'));
    web.send(metricsIdentifier(nodeOf('web')));
    for (const total of [1000, 1040, 7]) web.send(counted('source', total, 0));
    await until('three messages are read', async () => (await requestsIn(rig, 'by=edge')) >= 47);
    assert.equal(await requestsIn(rig, 'by=edge'), 47);
  }));

test('the log of a stock Envoy is counted, by the addresses of replicas, and its requests are found without their queries', () =>
  withRig(async (rig, address) => {
    const pay = {
      workload: 'pay',
      address: '10.0.0.9',
      labels: { version: 'v2' },
      serviceAccount: 'pay',
      ports: [],
      ready: true,
      meshed: true,
    };
    const put = await rig.admin('PUT', '/v1/instances/default/pay-1', { name: 'pay-1', namespace: 'default', ...pay });
    assert.equal(put.status, 200, JSON.stringify(put.body));
    const envoy = new Sender(address, ACCESS_LOG_METHOD, await rig.token('web'));
    const flags = { response_flags: { upstream_connection_failure: true } };
    envoy.send(
      logs({
        identifier: { node: nodeOf('web', { SKEIN_SUMMARIES: 'true' }), log_name: 'skein-summaries' },
        http_logs: { log_entry: [httpEntry(200, 'a'), httpEntry(200, 'b'), httpEntry(503, 'c', flags)] },
      }),
    );
    const tcp = { upstream_cluster: 'outbound|6379||redis.default.svc.cluster.local' };
    envoy.send(
      logs({ tcp_logs: { log_entry: [{ common_properties: tcp, connection_properties: { received_bytes: 10, sent_bytes: 20 } }] } }),
    );
    await until('all is counted', async () => (await summary(rig, 'by=edge')).rows.length === 2);
    const { rows } = await summary(rig, 'by=edge');
    const [http, redis] = rows;
    assert.deepEqual(
      [http?.destination.workload, http?.destination.service, http?.requests, http?.errors],
      ['pay', 'pay.default.svc.cluster.local', 3, 1],
    );
    assert.deepEqual(redis?.tcp, { opened: 1, closed: 1, sent: 20, received: 10 });
    assert.equal((await summary(rig, 'by=version&workload=pay')).rows[0]?.destination.version, 'v2');
    const { body } = await rig.admin('GET', '/v1/telemetry/requests?status=5xx');
    const [failed, ...rest] = (body as { requests: Record<string, unknown>[] }).requests;
    assert.equal(rest.length, 0);
    assert.deepEqual(
      [failed?.['path'], failed?.['flags'], failed?.['durationMs'], failed?.['route'], failed?.['requestId'], failed?.['method']],
      ['/charge', 'UF', 12, 'to-pay', 'c', 'POST'],
    );
  }));

test('a proxy speaks for itself only, and says first who it is', () =>
  withRig(async (rig, address) => {
    const token = await rig.token('web');
    const other = new Sender(address, METRICS_METHOD, token);
    other.send(metricsIdentifier(nodeOf('order')));
    const silent = new Sender(address, METRICS_METHOD, token);
    silent.send(counted('source', 1, 0));
    const broken = new Sender(address, ACCESS_LOG_METHOD, token);
    broken.send(Uint8Array.of(0x0a, 0xff));
    const codes = await eventually('all are ended', () => {
      const found = [other, silent, broken].map((s) => s.status?.code);
      return found.every((code) => code !== undefined) ? found : undefined;
    });
    assert.deepEqual(codes, [7, 3, 3]);
    assert.deepEqual((await summary(rig, 'by=edge')).rows, []);
  }));

test('who sends faster than a proxy can have to tell is not read on, and that is told', () => {
  // However slowly this machine reads: by the clock of the control plane all comes at once.
  const nowMs = Date.now();
  return withRig(
    async (rig, address) => {
      const hostile = new Sender(address, ACCESS_LOG_METHOD, await rig.token('web'));
      hostile.send(logs({ identifier: { node: nodeOf('web'), log_name: 'x' } }));
      const many = logs({ http_logs: { log_entry: Array.from({ length: 10_000 }, (_, i) => httpEntry(200, `r${i}`)) } });
      for (let i = 0; i < 4; i++) hostile.send(many);
      await until('some are dropped', async () => (await summary(rig)).notes.some((n) => n.includes('came faster')));
      const { notes } = await summary(rig);
      assert.ok(
        notes.some((n) => /came faster than they are read/.test(n)),
        notes.join('; '),
      );
      assert.ok((await requestsIn(rig, 'by=edge')) < 40_000);
    },
    { now: () => nowMs },
  );
});

test('a restart keeps what was counted, and a torn record costs that record alone', async () => {
  const rig = await startRig({});
  const [address = ''] = rig.controlPlane.xds;
  const web = new Sender(address, METRICS_METHOD, await rig.token('web'));
  web.send(metricsIdentifier(nodeOf('web', { SKEIN_SUMMARIES: 'true' })));
  web.send(counted('source', 41, 1));
  await until('it is counted', async () => (await requestsIn(rig, 'by=edge')) === 42);
  web.close();
  await rig.controlPlane.close();
  const folder = join(rig.state, 'telemetry');
  assert.ok(existsSync(folder));
  const again = await startRig({}, {}, rig.root);
  assert.equal(await requestsIn(again, 'by=edge&window=3600'), 42);
  await again.controlPlane.close();
  const [file = ''] = readdirSync(folder);
  truncateSync(join(folder, file), 20);
  const torn = await startRig({}, {}, rig.root);
  assert.equal(await requestsIn(torn, 'by=edge&window=3600'), 0);
  await torn.close();
});

test('without telemetry the streams are unknown and the questions say why', () =>
  withRig(
    async (rig, address) => {
      const web = new Sender(address, METRICS_METHOD, await rig.token('web'));
      assert.equal((await eventually('it is ended', () => web.status)).code, 12);
      const { status, body } = await rig.admin('GET', '/v1/telemetry/summary');
      assert.equal(status, 404);
      assert.match(JSON.stringify(body), /--no-telemetry/);
    },
    { withoutTelemetry: true },
  ));
