// Summaries as they change: server-sent events of the admin API.
import assert from 'node:assert/strict';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { METRICS_METHOD } from '../../src/control/telemetry/receivers.ts';
import { encodeLabels, metricsIdentifier, writeFamily, writeValue } from '../../src/proxy/telemetry/metrics-message.ts';
import { Writer } from '../../src/xds/wire-format.ts';
import { startRig } from './rig.ts';

interface Event {
  readonly name: string;
  readonly data: { readonly rows: readonly { readonly requests: number; readonly destination: { readonly workload: string } }[] };
}

class Reader {
  readonly events: Event[] = [];
  readonly #asked: ClientRequest;
  readonly answered: Promise<IncomingMessage>;
  #look: () => void = () => undefined;

  constructor(socketPath: string, query: string) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    this.answered = promise;
    this.#asked = request({ socketPath, path: `/v1/telemetry/stream?${query}`, agent: false }, (response) => {
      let text = '';
      response.on('error', () => undefined);
      response.on('data', (chunk: Buffer) => {
        const parts = (text + chunk.toString()).split('\n\n');
        text = parts.pop() ?? '';
        for (const part of parts) {
          const [, name = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(part) ?? [];
          this.events.push({ name, data: JSON.parse(data) as Event['data'] });
        }
        this.#look();
      });
      resolve(response);
    });
    this.#asked.on('error', reject);
    this.answered.catch(() => undefined);
    this.#asked.end();
  }

  async until(holds: (event: Event) => boolean): Promise<Event> {
    await this.answered;
    return new Promise((resolve) => {
      this.#look = () => {
        const found = this.events.find(holds);
        if (found !== undefined) resolve(found);
      };
      this.#look();
    });
  }

  close(): void {
    this.#asked.destroy();
  }
}

const report = (address: string, token: string, requests: number): (() => void) => {
  const labels = encodeLabels([
    ['reporter', 'source'],
    ['source_workload', 'web'],
    ['destination_workload', 'order'],
    ['response_code', '200'],
    ['request_protocol', 'http'],
  ]);
  const w = new Writer();
  writeFamily(w, 'istio_requests_total', 'counter', () => writeValue(w, 'counter', labels, requests));
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const raw = (b: Buffer): Buffer => b;
  const client = new Client(address, credentials.createInsecure());
  const call = client.makeBidiStreamRequest(METRICS_METHOD, raw, raw, metadata);
  call.on('error', () => undefined);
  const node = { id: 'sidecar~10.0.0.1~web.default~default.svc.cluster.local', metadata: { SKEIN_SUMMARIES: 'true' } };
  call.write(Buffer.from(metricsIdentifier(node)));
  call.write(Buffer.from(w.finish()));
  return () => {
    call.cancel();
    client.close();
  };
};

test('a reader is told at once what there is, and again and again what it has become', async () => {
  const rig = await startRig({});
  const reader = new Reader(rig.controlPlane.adminSocket, 'by=workload&every=1&window=60');
  let stop = (): void => undefined;
  try {
    assert.equal((await reader.answered).headers['content-type'], 'text/event-stream');
    const first = await reader.until(() => true);
    assert.deepEqual([first.name, first.data.rows], ['summary', []]);
    stop = report(rig.controlPlane.xds[0] ?? '', await rig.token('web'), 7);
    const later = await reader.until((e) => e.data.rows.length > 0);
    assert.deepEqual([later.data.rows[0]?.destination.workload, later.data.rows[0]?.requests], ['order', 7]);
  } finally {
    stop();
    reader.close();
    await rig.close();
  }
});

test('there may be so many readers, whoever leaves makes room, and what cannot be asked is refused', async () => {
  const rig = await startRig({});
  const readers: Reader[] = [];
  const open = (query = 'every=3600'): Promise<number> => {
    const reader = new Reader(rig.controlPlane.adminSocket, query);
    readers.push(reader);
    return reader.answered.then((r) => r.statusCode ?? 0);
  };
  try {
    assert.equal(await open('by=nothing'), 400);
    assert.equal(await open('every=0'), 400);
    for (let i = 0; i < 32; i++) assert.equal(await open(), 200);
    assert.equal(await open(), 503);
    readers[5]?.close();
    // It is known to have gone once its end has arrived.
    let status = 503;
    while (status === 503) status = await open();
    assert.equal(status, 200);
  } finally {
    for (const reader of readers) reader.close();
    await rig.close();
  }
});
