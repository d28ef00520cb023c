// node grpc-js-client.ts CASE HOST:PORT: cases of the gRPC project's interop service, called with grpc-js.
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const schema = protobuf.parse(`syntax = "proto3";
message Empty {}
message Payload { int32 type = 1; bytes body = 2; }
message EchoStatus { int32 code = 1; string message = 2; }
message ResponseParameters { int32 size = 1; int32 interval_us = 2; }
message SimpleRequest { int32 response_size = 2; Payload payload = 3; EchoStatus response_status = 7; }
message SimpleResponse { Payload payload = 1; }
message StreamingOutputCallRequest { repeated ResponseParameters response_parameters = 2; Payload payload = 3; EchoStatus response_status = 7; }
message StreamingOutputCallResponse { Payload payload = 1; }
`).root;

type Json = Record<string, unknown>;
const SERVICE = '/grpc.testing.TestService/';
const encoder = (type: string) => (value: Json) => Buffer.from(schema.lookupType(type).encode(value).finish());
const decoder = (type: string) => (bytes: Buffer) => schema.lookupType(type).decode(bytes) as unknown as Json;
const [, , name = '', target = ''] = process.argv;
const client = new Client(target, credentials.createInsecure());
const options = (): CallOptions => ({ deadline: Date.now() + 10_000 });

interface Answer {
  readonly error: ServiceError | null;
  readonly value: Json | undefined;
  readonly initial: Metadata;
  readonly trailing: Metadata;
}

const unary = (method: string, request: Json, metadata = new Metadata()): Promise<Answer> =>
  new Promise((resolve) => {
    let initial = new Metadata();
    let trailing = new Metadata();
    let result: { error: ServiceError | null; value: Json | undefined } | undefined;
    const [input, output] = method.endsWith('EmptyCall') ? ['Empty', 'Empty'] : ['SimpleRequest', 'SimpleResponse'];
    const path = method.startsWith('/') ? method : SERVICE + method;
    const call = client.makeUnaryRequest(path, encoder(input), decoder(output), request, metadata, options(), (error, value) => {
      result = { error, value };
    });
    call.on('metadata', (m) => {
      initial = m;
    });
    call.on('status', (s) => {
      trailing = s.metadata;
      setImmediate(() => resolve({ error: result?.error ?? null, value: result?.value, initial, trailing }));
    });
  });

const duplex = (metadata = new Metadata(), deadline = 10_000) =>
  client.makeBidiStreamRequest(
    `${SERVICE}FullDuplexCall`,
    encoder('StreamingOutputCallRequest'),
    decoder('StreamingOutputCallResponse'),
    metadata,
    { deadline: Date.now() + deadline },
  );

const bodyLength = (value: Json | undefined): number => ((value?.['payload'] as { body?: Uint8Array } | undefined)?.body ?? []).length;
const same = (got: unknown, wanted: unknown, what: string): void => {
  if (got !== wanted) throw new Error(`${what}: ${String(got)}, not ${String(wanted)}`);
};

const pingPong = async (): Promise<void> => {
  const call = duplex();
  const sizes: readonly (readonly [number, number])[] = [
    [27_182, 31_415],
    [8, 9],
    [1828, 2653],
    [45_904, 58_979],
  ];
  for (const [up, down] of sizes) {
    const got = new Promise<Json>((resolve, reject) => {
      call.once('data', resolve);
      call.once('error', reject);
    });
    call.write({ responseParameters: [{ size: down }], payload: { body: Buffer.alloc(up) } });
    same(bodyLength(await got), down, 'size of an answer');
  }
  call.end();
  const status = await new Promise<{ code: number }>((resolve) => call.once('status', resolve));
  same(status.code, 0, 'status');
};

const ended = (call: ReturnType<typeof duplex>): Promise<number> =>
  new Promise((resolve) => {
    call.on('error', () => undefined);
    call.on('data', () => undefined);
    call.once('status', ({ code }) => resolve(code));
  });

const cases: Readonly<Record<string, () => Promise<void>>> = {
  empty_unary: async () => same((await unary('EmptyCall', {})).error, null, 'error'),
  large_unary: async () => {
    const { error, value } = await unary('UnaryCall', { responseSize: 314_159, payload: { body: Buffer.alloc(271_828) } });
    same(error?.message, undefined, 'error');
    same(bodyLength(value), 314_159, 'size');
  },
  server_streaming: async () => {
    const sizes = [31_415, 9, 2653, 58_979];
    const call = client.makeServerStreamRequest(
      `${SERVICE}StreamingOutputCall`,
      encoder('StreamingOutputCallRequest'),
      decoder('StreamingOutputCallResponse'),
      { responseParameters: sizes.map((size) => ({ size })) },
      options(),
    );
    const seen: number[] = [];
    for await (const message of call) seen.push(bodyLength(message as Json));
    same(seen.join(), sizes.join(), 'sizes');
  },
  ping_pong: pingPong,
  status: async () => {
    const { error } = await unary('UnaryCall', { responseStatus: { code: 2, message: 'test status message' } });
    same(`${error?.code} ${error?.details}`, '2 test status message', 'status');
    const special = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
    same((await unary('UnaryCall', { responseStatus: { code: 2, message: special } })).error?.details, special, 'message');
  },
  metadata: async () => {
    const metadata = new Metadata();
    metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
    metadata.set('x-grpc-test-echo-trailing-bin', Buffer.from([0xab, 0xab, 0xab]));
    const { error, initial, trailing } = await unary('UnaryCall', { responseSize: 1 }, metadata);
    same(error, null, 'error');
    same(initial.get('x-grpc-test-echo-initial').join(), 'test_initial_metadata_value', 'initial metadata');
    same((trailing.get('x-grpc-test-echo-trailing-bin')[0] as Buffer | undefined)?.toString('hex'), 'ababab', 'trailing metadata');
  },
  deadline: async () => {
    const call = duplex(new Metadata(), 300);
    call.write({ responseParameters: [{ size: 1, intervalUs: 5_000_000 }], payload: { body: Buffer.alloc(10) } });
    same(await ended(call), 4, 'status code');
  },
  cancel: async () => {
    const call = duplex();
    const code = ended(call);
    call.once('data', () => call.cancel());
    call.write({ responseParameters: [{ size: 10 }], payload: { body: Buffer.alloc(10) } });
    same(await code, 1, 'status code');
  },
  unimplemented: async () => {
    same((await unary('UnimplementedCall', {})).error?.code, 12, 'method');
    same((await unary('/grpc.testing.NoSuchService/Call', {})).error?.code, 12, 'service');
  },
};

process.exitCode = 1; // also when nothing is left to wait for
(cases[name] ?? (() => Promise.reject(new Error(`no case ${name}`))))().then(
  () => process.exit(0),
  (e: Error) => {
    console.error(e.message);
    process.exit(1);
  },
);
