// What tests of tracing share: collectors that keep what they are sent, spans read back, a proxy with traced listeners.
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { frameMessage } from '../../src/wire/grpc-frames.ts';

export interface SpanSeen {
  readonly traceId: string;
  readonly id: string;
  readonly parentId: string;
  readonly kind: string;
  readonly name: string;
  readonly service: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly events: readonly string[];
  readonly shared: boolean;
  readonly state: string;
  readonly error: boolean;
  readonly flags: number;
}

export interface Report {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly spans: readonly SpanSeen[];
}

export interface Collector extends AsyncDisposable {
  readonly port: number;
  readonly reports: Report[];
  spans(): readonly SpanSeen[];
  /** Resolves with all spans when there are so many. */
  whenSpans(count: number, withinMs?: number): Promise<readonly SpanSeen[]>;
  /** What is answered from now on; undefined: nothing at all. */
  answer: number | undefined;
  /** What an answer says. */
  said: Buffer;
  /** Requests that came, answered or not. */
  asked: number;
}

const text = (v: unknown): string => (typeof v === 'string' ? v : '');

interface ZipkinSpan {
  readonly traceId: string;
  readonly id: string;
  readonly parentId?: string;
  readonly kind: string;
  readonly name: string;
  readonly timestamp: number;
  readonly duration: number;
  readonly shared?: boolean;
  readonly tags: Readonly<Record<string, string>>;
  readonly localEndpoint: { readonly serviceName?: string };
  readonly annotations: readonly { readonly value: string }[];
}

export const readZipkin = (body: Buffer): readonly SpanSeen[] =>
  (JSON.parse(body.toString()) as readonly ZipkinSpan[]).map((span) => ({
    traceId: span.traceId,
    id: span.id,
    parentId: text(span.parentId),
    kind: span.kind.toLowerCase(),
    name: span.name,
    service: text(span.localEndpoint.serviceName),
    startUs: span.timestamp,
    durationUs: span.duration,
    tags: span.tags,
    events: span.annotations.map(({ value }) => value),
    shared: span.shared === true,
    state: '',
    error: span.tags['error'] === 'true',
    flags: 0,
  }));

type Fields = readonly (readonly [field: number, value: number | bigint | Buffer])[];

const fieldsOf = (bytes: Buffer): Fields => {
  const out: (readonly [number, number | bigint | Buffer])[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('a message ends too soon');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const field = Math.floor(key / 8);
    if (key % 8 === 0) out.push([field, varint()]);
    else if (key % 8 === 1) {
      out.push([field, bytes.readBigUInt64LE(at)]);
      at += 8;
    } else if (key % 8 === 5) {
      out.push([field, bytes.readUInt32LE(at)]);
      at += 4;
    } else {
      const length = varint();
      if (at + length > bytes.length) throw new Error('a field ends too late');
      out.push([field, bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  return out;
};

const buffers = (fields: Fields, field: number): readonly Buffer[] =>
  fields.flatMap(([n, value]) => (n === field && Buffer.isBuffer(value) ? [value] : []));
const first = (fields: Fields, field: number): Buffer => buffers(fields, field)[0] ?? Buffer.alloc(0);
const number = (fields: Fields, field: number): number => Number(fields.find(([n]) => n === field)?.[1] ?? 0);

const attributesOf = (list: readonly Buffer[]): Record<string, string> =>
  Object.fromEntries(
    list.map((bytes) => {
      const fields = fieldsOf(bytes);
      return [first(fields, 1).toString(), first(fieldsOf(first(fields, 2)), 1).toString()];
    }),
  );

const KINDS = ['', 'internal', 'server', 'client'];

/** An ExportTraceServiceRequest. */
export const readOtlp = (body: Buffer): readonly SpanSeen[] =>
  buffers(fieldsOf(body), 1).flatMap((bytes) => {
    const resource = fieldsOf(bytes);
    const service = attributesOf(buffers(fieldsOf(first(resource, 1)), 1))['service.name'] ?? '';
    return buffers(resource, 2)
      .flatMap((scope) => buffers(fieldsOf(scope), 2))
      .map((span): SpanSeen => {
        const fields = fieldsOf(span);
        const startUs = number(fields, 7) / 1000;
        return {
          traceId: first(fields, 1).toString('hex'),
          id: first(fields, 2).toString('hex'),
          parentId: first(fields, 4).toString('hex'),
          kind: KINDS[number(fields, 6)] ?? '',
          name: first(fields, 5).toString(),
          service,
          startUs,
          durationUs: number(fields, 8) / 1000 - startUs,
          tags: attributesOf(buffers(fields, 9)),
          events: buffers(fields, 11).map((event) => first(fieldsOf(event), 2).toString()),
          shared: false,
          state: first(fields, 3).toString(),
          error: number(fieldsOf(first(fields, 15)), 3) === 2,
          flags: number(fields, 16),
        };
      });
  });

const listening = async (server: Server | Http2Server, port = 0): Promise<number> => {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
};

const collected = (): Omit<Collector, 'port' | typeof Symbol.asyncDispose> & { readonly take: (report: Report) => void } => {
  const reports: Report[] = [];
  let waiting: (() => void)[] = [];
  const spans = () => reports.flatMap((report) => report.spans);
  return {
    reports,
    spans,
    answer: 200,
    said: Buffer.alloc(0),
    asked: 0,
    take: (report) => {
      reports.push(report);
      for (const look of waiting.splice(0)) look();
    },
    whenSpans: (count, withinMs = 8000) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${spans().length} of ${count} spans within ${withinMs} ms`)), withinMs);
        const look = (): void => {
          if (spans().length < count) waiting = [...waiting, look];
          else {
            clearTimeout(late);
            resolve(spans());
          }
        };
        look();
      }),
  };
};

/** Zipkin's v2 API, or OTLP over HTTP. */
export const startCollector = async (kind: 'zipkin' | 'otlp', at = 0): Promise<Collector> => {
  const kept = collected();
  const read = kind === 'zipkin' ? readZipkin : readOtlp;
  const handle: RequestListener = (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      collector.asked++;
      const { answer } = collector;
      if (answer === undefined) return;
      if (answer < 300) kept.take({ path: request.url ?? '', headers: request.headers, spans: read(Buffer.concat(pieces)) });
      response.writeHead(answer).end(collector.said);
    });
  };
  const server = createServer(handle);
  const port = await listening(server, at);
  const collector: Collector = Object.assign(kept, {
    port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return collector;
};

/** OTLP over gRPC. `answer` is a grpc-status, 200 stands for OK. */
export const startGrpcCollector = async (): Promise<Collector> => {
  const kept = collected();
  const server = createHttp2Server();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers) => {
    const pieces: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () => {
      collector.asked++;
      const { answer } = collector;
      if (answer === undefined) return;
      if (answer === 200)
        kept.take({
          path: String(headers[':path']),
          headers: headers as IncomingHttpHeaders,
          spans: readOtlp(Buffer.concat(pieces).subarray(5)),
        });
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': answer === 200 ? '0' : String(answer) }));
      stream.end(Buffer.from(frameMessage(collector.said)));
    });
  });
  const port = await listening(server);
  const collector: Collector = Object.assign(kept, {
    port,
    [Symbol.asyncDispose]: async () => {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return collector;
};
