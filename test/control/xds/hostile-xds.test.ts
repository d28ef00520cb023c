// xDS clients that do not play by the rules: each costs little and ends alone. And a gRPC server that says what is wrong.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, test } from 'node:test';
import { Client, credentials } from '@grpc/grpc-js';
import type { Pipeline } from '../../../src/control/pipeline.ts';
import type { Note } from '../../../src/translate/note.ts';
import { type GrpcCall, GrpcConnection } from '../../../src/wire/grpc-client.ts';
import { frameMessage } from '../../../src/wire/grpc-frames.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, DELTA_ADS_METHOD, deltaMethod, LISTENER_TYPE, ROUTE_TYPE } from '../../../src/xds/resource-types.ts';
import { fakePipeline } from '../fake-pipeline.ts';
import { eventually, type Rig, startRig, XdsClient } from '../rig.ts';

const NODE = { id: 'sidecar~10.0.0.1~a.default~default.svc.cluster.local', user_agent_name: 'envoy' };
const listener = (value: string): string => `kind: Gateway\nname: l\nspec: {value: "${value}"}\n`;
const service = (name: string): string => `kind: Service\nname: ${name}\nspec: {}\n`;

/** An incremental client on a socket of its own, which can stop reading. */
class DeltaClient {
  readonly responses: DeltaDiscoveryResponse[] = [];
  status: { readonly code: number; readonly message: string } | undefined;
  readonly socket: net.Socket;
  readonly #call: GrpcCall;

  constructor(rig: Rig, token: string, method = DELTA_ADS_METHOD) {
    const path = (rig.controlPlane.xds[0] ?? '').slice('unix:'.length);
    this.socket = net.connect(path);
    const link = {
      write: (pieces: readonly Buffer[]) => {
        for (const piece of pieces) this.socket.write(piece);
        return true;
      },
      ready: () => undefined,
      closing: () => undefined,
      pong: () => undefined,
      over: () => undefined,
    };
    const grpc = new GrpcConnection(link, { scheme: 'http', authority: 'x', messageBytesMax: 1 << 26 });
    this.socket.on('connect', () => grpc.start());
    this.socket.on('data', (chunk: Buffer) => grpc.receive(chunk));
    this.socket.on('error', () => undefined);
    this.#call = grpc.open(
      method,
      { authorization: `Bearer ${token}` },
      {
        message: (bytes) => this.responses.push(decode('envoy.service.discovery.v3.DeltaDiscoveryResponse', bytes)),
        end: (status) => {
          this.status = status;
        },
      },
    );
  }

  send(request: DeltaDiscoveryRequest): void {
    this.#call.send(encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', request));
  }

  ack(r: DeltaDiscoveryResponse): void {
    this.send({ type_url: r.type_url, response_nonce: r.nonce });
  }

  next(n: number): Promise<DeltaDiscoveryResponse> {
    return eventually(
      () => `response ${n}; ${this.status?.message ?? ''}`,
      () => this.responses[n - 1],
    );
  }

  close(): void {
    this.socket.destroy();
  }
}

const NOTE: Note = {
  code: 'TELEMETRY_NOT_UNDERSTOOD',
  resource: {
    apiVersion: 'telemetry.istio.io/v1',
    kind: 'Telemetry',
    namespace: 'default',
    name: 't',
    labels: {},
    annotations: {},
    spec: {},
    origin: { file: 't.yaml', line: 1, at: () => ({ line: 1, column: 1 }) },
  } as unknown as Note['resource'],
  path: 'spec',
  what: 'does without',
};

const withRig = async (files: Record<string, string>, run: (rig: Rig, token: string) => Promise<void>): Promise<void> => {
  const rig = await startRig(files);
  try {
    await run(rig, await rig.token('a'));
  } finally {
    await rig.close();
  }
};

const names = (r: DeltaDiscoveryResponse): readonly string[] => (r.resources ?? []).map((one) => one.name ?? '');

describe('incremental streams', () => {
  test('serve everything, then what changed and what is gone', async () => {
    await withRig({ 'a.yaml': service('a'), 'b.yaml': service('b') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: CLUSTER_TYPE.url });
      const first = await client.next(1);
      assert.deepEqual(names(first), ['a', 'b']);
      client.ack(first);
      rig.save('c.yaml', service('c'));
      const second = await client.next(2);
      assert.deepEqual([names(second), second.removed_resources], [['c'], undefined]);
      client.ack(second);
      rig.save('b.yaml', '# nothing is left\n');
      assert.deepEqual((await client.next(3)).removed_resources, ['b']);
      client.close();
    });
  });

  test('serve one type alone', async () => {
    await withRig({ 'l.yaml': listener('x') }, async (rig, token) => {
      const client = new DeltaClient(rig, token, deltaMethod(LISTENER_TYPE));
      client.send({ node: NODE });
      assert.deepEqual(names(await client.next(1)), ['l']);
      client.send({ type_url: CLUSTER_TYPE.url });
      await eventually('refused', () => client.status);
      assert.equal(client.status?.code, 3);
      client.close();
    });
  });

  test('resume without what the client has', async () => {
    await withRig({ 'a.yaml': service('a'), 'b.yaml': service('b') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: CLUSTER_TYPE.url });
      const [a, b] = (await client.next(1)).resources ?? [];
      client.close();
      const again = new DeltaClient(rig, token);
      again.send({ node: NODE, type_url: CLUSTER_TYPE.url, initial_resource_versions: { a: a?.version ?? '', b: 'old', c: 'old' } });
      const resumed = await again.next(1);
      assert.deepEqual([names(resumed), resumed.removed_resources], [['b'], ['c']]);
      assert.equal(resumed.resources?.[0]?.version, b?.version);
      again.close();
    });
  });

  test('keep the text of a refusal', async () => {
    await withRig({ 'l.yaml': listener('x') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: LISTENER_TYPE.url });
      const first = await client.next(1);
      client.send({ type_url: LISTENER_TYPE.url, response_nonce: first.nonce, error_detail: { code: 3, message: 'l: no such thing' } });
      let types: Record<string, { state: string; nack?: { message: string } }> = {};
      for (const until = Date.now() + 20_000; types['LDS']?.state !== 'NACK'; ) {
        assert.ok(Date.now() < until, JSON.stringify(types));
        types = ((await rig.admin('GET', '/v1/proxies')).body as { types: typeof types }[])[0]?.types ?? {};
      }
      assert.equal(types['LDS']?.nack?.message, 'l: no such thing');
      const { problems } = (await rig.admin('GET', '/v1/status')).body as { problems: { code: string; message: string }[] };
      const told = problems.find((p) => p.code === 'REFUSED_BY_PROXY');
      assert.match(told?.message ?? '', /^a\.default refused its configuration: LDS: l: no such thing$/);
      client.close();
    });
  });
});

describe('clients that do not play by the rules', () => {
  test('a reader that stops gets the latest when it goes on, not every version', async () => {
    const big = (n: number): string => listener(`${n} ${'x'.repeat(900_000)}`);
    await withRig({ 'l.yaml': big(0) }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: LISTENER_TYPE.url });
      client.ack(await client.next(1));
      client.socket.pause();
      for (let n = 1; n <= 12; n++) {
        const want = (rig.controlPlane.model.current?.number ?? 0) + 1;
        rig.save('l.yaml', big(n));
        await eventually('a generation', () => (rig.controlPlane.model.current?.number ?? 0) >= want);
      }
      client.socket.resume();
      let seen = 1;
      await eventually('the latest', () => {
        for (; seen < client.responses.length; seen++) client.ack(client.responses[seen] ?? {});
        return JSON.stringify(client.responses.at(-1)).length > 0 && JSON.stringify(client.responses.at(-1)?.resources).includes('"12 x');
      });
      assert.ok(client.responses.length <= 3, `${client.responses.length} responses`);
      client.close();
    });
  });

  test('never answering holds up nobody else and brings no more than one response', async () => {
    await withRig({ 'l.yaml': listener('0') }, async (rig, token) => {
      const mute = new DeltaClient(rig, token);
      mute.send({ node: NODE, type_url: LISTENER_TYPE.url });
      await mute.next(1);
      const fair = new DeltaClient(rig, token);
      fair.send({ node: NODE, type_url: LISTENER_TYPE.url });
      fair.ack(await fair.next(1));
      for (let n = 1; n <= 5; n++) {
        rig.save('l.yaml', listener(`${n}`));
        fair.ack(await fair.next(n + 1));
      }
      assert.equal(mute.responses.length, 1);
      mute.close();
      fair.close();
    });
  });

  test('a bad nonce, an unknown type and names of nothing are answered, or ignored, without harm', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: 'type.googleapis.com/no.such.Type' });
      client.send({ type_url: ROUTE_TYPE.url, resource_names_subscribe: ['nothing', 'of', 'this'] });
      assert.deepEqual((await client.next(1)).removed_resources, ['nothing', 'of', 'this']);
      for (let n = 0; n < 100; n++) client.send({ type_url: ROUTE_TYPE.url, response_nonce: `bogus ${n}` });
      client.send({ type_url: CLUSTER_TYPE.url });
      assert.deepEqual(names(await client.next(2)), ['a']);
      assert.equal(client.responses.length, 2);
      client.close();
    });
  });

  test('a subscribe storm ends with the stream, and the names go with it', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: ROUTE_TYPE.url });
      for (let n = 0; n < 11 && !client.status; n++) {
        const list = Array.from({ length: 10_000 }, (_, i) => `name-${n}-${i}`);
        client.send({ type_url: ROUTE_TYPE.url, resource_names_subscribe: list });
      }
      await eventually('the end of the stream', () => client.status);
      assert.equal(client.status?.code, 8);
      assert.equal((await rig.admin('GET', '/healthz')).status, 200);
      client.close();
    });
  });

  test('a huge node is refused by size, and one that names no workload by what it says', async () => {
    const rig = await startRig({ 'a.yaml': service('a') }, { xds: ['127.0.0.1:0'], insecure: true });
    try {
      const huge = new XdsClient(rig.controlPlane.xds[0] ?? '');
      huge.send({ node: { ...NODE, cluster: 'x'.repeat(5_000_000) }, type_url: CLUSTER_TYPE.url });
      await eventually('refused', () => huge.status);
      assert.equal(huge.status?.code, 8);
      const nobody = new XdsClient(rig.controlPlane.xds[0] ?? '', { node: 'nobody' });
      nobody.subscribe('CDS');
      await eventually('refused', () => nobody.status);
      assert.deepEqual([nobody.status?.code, /not of the form/.test(nobody.status?.details ?? '')], [3, true]);
      const painter = new XdsClient(rig.controlPlane.xds[0] ?? '', {
        node: 'sidecar~10.0.0.9~a\u001b[31m\nb.default~default.svc.cluster.local',
      });
      painter.subscribe('CDS');
      await eventually('refused', () => painter.status);
      assert.equal(painter.status?.code, 3);
      huge.close();
      nobody.close();
      painter.close();
    } finally {
      await rig.close();
    }
  });

  test('a node beyond any use is refused, whatever else the request carries is not held against it', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const labels = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`label-${i}`, 'value']));
      const huge = new DeltaClient(rig, token);
      huge.send({ node: { ...NODE, metadata: { LABELS: labels } }, type_url: CLUSTER_TYPE.url });
      await eventually('refused', () => huge.status);
      assert.deepEqual([huge.status?.code, /^a node of more than \d+ bytes$/.test(huge.status?.message ?? '')], [8, true]);
      const back = new DeltaClient(rig, token);
      const versions = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`cluster-${i}.example`, 'some-version']));
      back.send({ node: NODE, type_url: CLUSTER_TYPE.url, initial_resource_versions: versions });
      assert.deepEqual(names(await back.next(1)), ['a']);
      huge.close();
      back.close();
    });
  });

  test('names of a type that nobody serves are bounded by their bytes', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: 'type.googleapis.com/no.such.Type', resource_names_subscribe: ['one'] });
      for (let n = 0; n < 8 && !client.status; n++) {
        client.send({ type_url: 'type.googleapis.com/no.such.Type', resource_names_subscribe: [`${n}${'x'.repeat(3_000_000)}`] });
      }
      await eventually('the end of the stream', () => client.status);
      assert.deepEqual([client.status?.code, /names and versions/.test(client.status?.message ?? '')], [8, true]);
      client.close();
    });
  });

  test('what is said of a proxy stays when its stream is replaced by another', async () => {
    const pipeline = fakePipeline();
    const translatePieces: Pipeline['translatePieces'] = (kind, piece) =>
      pipeline.translatePieces(kind, piece).map((made) => ({ ...made, notes: [NOTE] }));
    const rig = await startRig({ 'a.yaml': service('a') }, { pipeline: { ...pipeline, translatePieces } });
    const told = async (): Promise<boolean> => {
      const { problems } = (await rig.admin('GET', '/v1/status')).body as { problems: { code: string }[] };
      return problems.some((p) => p.code === NOTE.code);
    };
    try {
      const token = await rig.token('a');
      const [before, after] = [new DeltaClient(rig, token), new DeltaClient(rig, token)];
      for (const client of [before, after]) {
        client.send({ node: NODE, type_url: CLUSTER_TYPE.url });
        client.ack(await client.next(1));
      }
      const ended = new Promise((resolve) => before.socket.once('close', resolve));
      before.close();
      await ended;
      for (let n = 0; n < 5; n++) assert.equal(await told(), true, 'the proxy is still connected');
      after.close();
      for (const until = Date.now() + 5000; await told(); ) assert.ok(Date.now() < until, 'said of a proxy that is gone');
    } finally {
      await rig.close();
    }
  });

  test('flapping connections leave nothing behind', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      for (let round = 0; round < 20; round++) {
        const clients = Array.from({ length: 5 }, () => new DeltaClient(rig, token));
        for (const c of clients) c.send({ node: NODE, type_url: CLUSTER_TYPE.url });
        await clients[0]?.next(1);
        for (const c of clients) c.close();
      }
      for (const until = Date.now() + 20_000; ; ) {
        const { body } = await rig.admin('GET', '/v1/proxies');
        if ((body as unknown[]).length === 0) break;
        assert.ok(Date.now() < until, JSON.stringify(body));
      }
    });
  });
});

/** Of a call of these bytes and no more. */
const statusOf = async (rig: Rig, token: string, body: Buffer): Promise<string | undefined> => {
  const session = http2.connect('http://x', { createConnection: () => net.connect((rig.controlPlane.xds[0] ?? '').slice('unix:'.length)) });
  const headers = { ':method': 'POST', ':path': DELTA_ADS_METHOD, 'content-type': 'application/grpc', authorization: `Bearer ${token}` };
  const call = session.request(headers);
  call.on('data', () => undefined);
  const status = new Promise<string | undefined>((resolve, reject) => {
    call.on('response', (h) => {
      if (h['grpc-status'] !== undefined) resolve(String(h['grpc-status']));
    });
    call.on('trailers', (h) => resolve(h['grpc-status'] === undefined ? undefined : String(h['grpc-status'])));
    call.on('error', reject);
  });
  call.end(body);
  return status.finally(() => session.destroy());
};

describe('the gRPC door', () => {
  const bytes = (b: Buffer): Buffer => b;

  test('an unknown method is said to be so', async () => {
    await withRig({}, async (rig) => {
      const client = new Client(rig.controlPlane.xds[0] ?? '', credentials.createInsecure());
      const code = await new Promise((resolve) => {
        client.makeUnaryRequest('/no.such.Service/Method', bytes, bytes, Buffer.alloc(0), (error) => resolve(error?.code));
      });
      assert.equal(code, 12);
      client.close();
    });
  });

  test('a call that ends in the middle of a message was not well', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const request = encode('envoy.service.discovery.v3.DeltaDiscoveryRequest', { node: NODE, type_url: CLUSTER_TYPE.url });
      const whole = Buffer.from(frameMessage(request));
      const statuses: (string | undefined)[] = [];
      for (const body of [whole.subarray(0, 3), whole.subarray(0, -1), Buffer.concat([whole, whole.subarray(0, 4)]), whole]) {
        statuses.push(await statusOf(rig, token, body));
      }
      assert.deepEqual(statuses, ['13', '13', '13', '0']);
    });
  });

  test('bytes that are no HTTP/2, or no gRPC, end that connection only', async () => {
    await withRig({ 'a.yaml': service('a') }, async (rig, token) => {
      const path = (rig.controlPlane.xds[0] ?? '').slice('unix:'.length);
      await new Promise<void>((resolve) => {
        const socket = net.connect(path, () => socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'));
        socket.on('data', () => undefined);
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
      });
      const client = new DeltaClient(rig, token);
      client.send({ node: NODE, type_url: CLUSTER_TYPE.url });
      assert.deepEqual(names(await client.next(1)), ['a']);
      client.close();
    });
  });
});
