// HTTP and gRPC health checks: a request on a connection of the probe's own, over the pool machinery of the cluster's requests but
// counted in none of its statistics and limits.

import { applyHeaderOps } from '../../plan/header-ops.ts';
import { StreamInfo } from '../../plan/stream-info.ts';
import { frameMessage, GRPC, GrpcUnframer } from '../../wire/grpc-frames.ts';
import { HeaderBlock } from '../../wire/header-block.ts';
import type { ResourceLimits } from '../cluster/circuit-breaker.ts';
import type { OutgoingRequest, ResponseHead, UpstreamClient, UpstreamPool, UpstreamStream } from '../upstream/upstream-stream.ts';
import { type GrpcQuestion, type HttpQuestion, holds } from './health-plan.ts';
import type { Finding, Probe } from './probe.ts';

const USER_AGENT = 'Envoy/HC';
const GRPC_PATH = '/grpc.health.v1.Health/Check';
const GRPC_ANSWER_BYTES = 1024;

export class HttpProbe implements Probe {
  readonly #question: HttpQuestion | GrpcQuestion;
  readonly #authority: string;
  readonly #scheme: string;
  readonly #makePool: () => UpstreamPool;
  readonly #limits: ResourceLimits;
  readonly #reuse: boolean;
  #pool: UpstreamPool | undefined;
  #asked: Asked | undefined;

  constructor(
    question: HttpQuestion | GrpcQuestion,
    authority: string,
    scheme: string,
    reuse: boolean,
    limits: ResourceLimits,
    makePool: () => UpstreamPool,
  ) {
    this.#question = question;
    this.#authority = authority;
    this.#scheme = scheme;
    this.#reuse = reuse;
    this.#limits = limits;
    this.#makePool = makePool;
  }

  ask(done: (finding: Finding) => void): void {
    const pool = this.#pool ?? this.#makePool();
    this.#pool = pool;
    const asked = new Asked(this.#question, this.#request(), (finding) => {
      if (this.#asked !== asked) return;
      this.#asked = undefined;
      // What is in the middle of its events closes by itself.
      if (!this.#reuse || finding.kind === 'network') {
        this.#pool?.drain();
        this.#pool = undefined;
      }
      done(finding);
    });
    this.#asked = asked;
    if (pool.acquire(asked, this.#limits) === 'overflow') asked.lost();
  }

  cancel(): void {
    this.#asked = undefined;
    this.close();
  }

  close(): void {
    this.#asked = undefined;
    const pool = this.#pool;
    this.#pool = undefined;
    pool?.destroy();
  }

  #request(): OutgoingRequest {
    const question = this.#question;
    const grpc = question.kind === 'grpc';
    const method = grpc ? 'POST' : question.method;
    const path = grpc ? GRPC_PATH : question.path;
    const headers = new HeaderBlock();
    headers.add('user-agent', USER_AGENT);
    if (grpc) {
      headers.add('te', 'trailers');
      headers.add('content-type', 'application/grpc');
    } else if (question.send !== undefined) headers.add('content-length', String(question.send.length));
    if (question.headers !== undefined) {
      const info = new StreamInfo();
      info.protocol = grpc || question.http2 ? 'HTTP/2' : 'HTTP/1.1';
      info.method = method;
      info.path = path;
      info.authority = this.#authority;
      applyHeaderOps([question.headers], headers, info, headers);
    }
    return { method, scheme: this.#scheme, path, authority: this.#authority, requestHeaders: headers };
  }
}

/** One question; its answer is judged at its end. */
class Asked implements UpstreamClient {
  readonly #question: HttpQuestion | GrpcQuestion;
  readonly #request: OutgoingRequest;
  readonly #done: (finding: Finding) => void;
  #head: { readonly status: number; readonly grpcStatus: number | undefined; readonly finding: Omit<Finding, 'kind'> } | undefined;
  #body: Buffer = Buffer.alloc(0);
  #served: boolean | undefined;
  #grpcStatus: number | undefined;
  #over = false;
  readonly #unframer = new GrpcUnframer((message) => {
    this.#served = isServing(message);
  }, GRPC_ANSWER_BYTES);

  constructor(question: HttpQuestion | GrpcQuestion, request: OutgoingRequest, done: (finding: Finding) => void) {
    this.#question = question;
    this.#request = request;
    this.#done = done;
  }

  lost(): void {
    this.#finish({ kind: 'network' });
  }

  onReady(stream: UpstreamStream): void {
    const body = this.#question.kind === 'grpc' ? frameMessage(servicesRequest(this.#question.service)) : this.#question.send;
    stream.writeRequest(this.#request, '', false, body === undefined);
    if (body !== undefined) {
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
      stream.writeBody(bytes, 0, bytes.length);
    }
    stream.endRequest(undefined);
    stream.flush();
  }

  onHead(head: ResponseHead): void {
    const { headers } = head;
    const { serviceName } = this.#question.kind === 'http' ? this.#question : { serviceName: undefined };
    const served = serviceName === undefined ? undefined : headers.get('x-envoy-upstream-healthchecked-cluster');
    this.#head = {
      status: head.statusCode,
      grpcStatus: statusIn(headers),
      finding: {
        degraded: headers.has('x-envoy-degraded'),
        excluded: headers.has('x-envoy-immediate-health-check-fail'),
        wrongService: serviceName !== undefined && !(served !== undefined && serviceName(served)),
      },
    };
  }

  onBody(buf: Buffer, start: number, end: number): void {
    if (this.#question.kind === 'grpc') this.#grpcBody(buf.subarray(start, end));
    else if (this.#question.receive.length > 0 && this.#body.length < this.#question.bodyBytesMax)
      this.#body = Buffer.concat([this.#body, buf.subarray(start, end)]).subarray(0, this.#question.bodyBytesMax);
  }

  onTrailers(trailers: HeaderBlock): void {
    this.#grpcStatus = statusIn(trailers);
  }

  onEnd(): void {
    const head = this.#head;
    if (head === undefined) this.#finish({ kind: 'network' });
    else if (this.#question.kind === 'grpc') this.#judgeGrpc(head.status, this.#grpcStatus ?? head.grpcStatus);
    else this.#judgeHttp(this.#question, head.status, head.finding);
  }

  #judgeHttp(question: HttpQuestion, status: number, finding: Omit<Finding, 'kind'>): void {
    if (!question.expects(status)) this.#finish({ ...finding, kind: 'failed', retriable: question.forgives(status) });
    else if (finding.wrongService === true || !holds(this.#body, question.receive)) this.#finish({ ...finding, kind: 'failed' });
    else this.#finish({ ...finding, kind: 'healthy' });
  }

  #judgeGrpc(status: number, grpcStatus: number | undefined): void {
    this.#finish({ kind: status === 200 && grpcStatus === GRPC.OK && this.#served === true ? 'healthy' : 'failed' });
  }

  #grpcBody(bytes: Buffer): void {
    if (this.#unframer.push(bytes) !== undefined) this.#finish({ kind: 'failed' });
  }

  #finish(finding: Finding): void {
    if (this.#over) return;
    this.#over = true;
    this.#done(finding);
  }

  onConnectFailure(): void {
    this.lost();
  }
  onHostGone(): void {
    this.lost();
  }
  onReset(): void {
    this.lost();
  }
  onInformational(): void {}
  onFlush(): void {}
  onSettled(): void {}
  onDrain(): void {}
  onTunnelData(): void {}
  onTunnelEnd(): void {}
}

const statusIn = (headers: HeaderBlock): number | undefined => {
  const text = headers.get('grpc-status');
  return text === undefined ? undefined : Number(text);
};

/** grpc.health.v1.HealthCheckRequest {1: service}. */
const servicesRequest = (service: string): Uint8Array => {
  if (service === '') return new Uint8Array(0);
  const name = Buffer.from(service);
  const length: number[] = [];
  let left = name.length;
  for (; left > 0x7f; left >>>= 7) length.push((left & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([0x0a, ...length, left]), name]);
};

/** grpc.health.v1.HealthCheckResponse {1: status}; 1 is SERVING. */
const isServing = (message: Uint8Array): boolean => {
  let serving = false;
  for (let at = 0; at + 1 < message.length; at += 2) if (message[at] === 0x08) serving = message[at + 1] === 1;
  return serving;
};
