// The SPIFFE Workload API for the application beside us: its X.509 identity and the roots to check peers with, as a stream that goes on
// at every renewal. Off unless it is asked for, because it gives the application the key; then on a Unix socket of mode 0600.
// Without the metadata `workload.spiffe.io: true`, which no browser and no forwarded request has, nothing is given. No JWT is issued.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { anchorOf, boundDomains, isFor } from '../identity/anchor-scope.ts';
import { GRPC, type GrpcStatus } from '../wire/grpc-frames.ts';
import type { StreamEvents, XdsStream } from '../xds/transport.ts';
import { certificatesIn } from './certificate.ts';
import type { WorkloadSecret } from './workload-identity.ts';

const SERVICE = '/SpiffeWorkloadAPI/';
const STREAMS_MAX = 64;

type Kind = 'svid' | 'bundles';
const KINDS: Readonly<Record<string, Kind>> = { FetchX509SVID: 'svid', FetchX509Bundles: 'bundles' };
const JWT_METHODS: ReadonlySet<string> = new Set(['FetchJWTSVID', 'FetchJWTBundles', 'ValidateJWTSVID']);

const refusal = (method: string, marked: boolean, open: number): GrpcStatus | undefined => {
  const name = method.startsWith(SERVICE) ? method.slice(SERVICE.length) : '';
  if (!marked) return { code: GRPC.INVALID_ARGUMENT, message: 'the metadata workload.spiffe.io: true is missing' };
  if (JWT_METHODS.has(name)) return { code: GRPC.UNIMPLEMENTED, message: 'this mesh issues X.509 identities only: there are no JWT-SVIDs' };
  if (!Object.hasOwn(KINDS, name)) return { code: GRPC.UNIMPLEMENTED, message: `${method} is not served here` };
  return open >= STREAMS_MAX ? { code: GRPC.RESOURCE_EXHAUSTED, message: `there are ${STREAMS_MAX} streams already` } : undefined;
};

interface Subscriber {
  readonly kind: Kind;
  readonly events: StreamEvents;
  asked: boolean;
}

export class WorkloadApi {
  /** The client says all that it has to say in one message, and listens on. */
  readonly staysOpen = true;
  readonly #identity: string;
  readonly #subscribers = new Set<Subscriber>();
  #answers: Readonly<Record<Kind, Uint8Array>> | undefined;

  /** `identity`: the SPIFFE id. */
  constructor(identity: string) {
    this.#identity = identity;
  }

  publish({ certificate, privateKeyPem }: WorkloadSecret): void {
    const own = this.#identity.split('/')[2] ?? '';
    const anchors = certificatesIn(certificate.rootsPem).map(anchorOf);
    const bundle = (name: string): Buffer =>
      der(
        anchors
          .filter((a) => isFor(a, name))
          .map((a) => a.pem)
          .join(''),
      );
    const entry = (name: string): Buffer => Buffer.concat([field(1, `spiffe://${name}`), field(2, bundle(name))]);
    const others = (boundDomains(anchors) ?? []).filter((name) => name !== own);
    const key = createPrivateKey(privateKeyPem).export({ type: 'pkcs8', format: 'der' });
    const svid = Buffer.concat([field(1, this.#identity), field(2, der(certificate.chainPem)), field(3, key), field(4, bundle(own))]);
    this.#answers = {
      svid: Buffer.concat([field(1, svid), ...others.map((name) => field(3, entry(name)))]),
      bundles: Buffer.concat([own, ...others].map((name) => field(2, entry(name)))),
    };
    for (const subscriber of this.#subscribers) this.#answer(subscriber);
  }

  open(method: string, events: StreamEvents, metadata: (name: string) => string | undefined): XdsStream {
    const refused = refusal(method, metadata('workload.spiffe.io') === 'true', this.#subscribers.size);
    if (refused) {
      queueMicrotask(() => events.end(refused));
      return { send: () => undefined, close: () => undefined };
    }
    const subscriber: Subscriber = { kind: KINDS[method.slice(SERVICE.length)] ?? 'svid', events, asked: false };
    this.#subscribers.add(subscriber);
    return {
      send: () => {
        if (subscriber.asked) return;
        subscriber.asked = true;
        queueMicrotask(() => this.#answer(subscriber));
      },
      close: () => this.#subscribers.delete(subscriber),
    };
  }

  close(): void {
    for (const { events } of this.#subscribers) events.end({ code: GRPC.UNAVAILABLE, message: 'the agent stops' });
    this.#subscribers.clear();
  }

  /** Before there is a certificate, its stream waits. */
  #answer(subscriber: Subscriber): void {
    if (this.#answers && subscriber.asked && this.#subscribers.has(subscriber)) subscriber.events.message(this.#answers[subscriber.kind]);
  }
}

/** Certificates one behind the other, as the API wants them. */
const der = (pem: string): Buffer => Buffer.concat(certificatesIn(pem).map((text) => new X509Certificate(text).raw));

/** A length-delimited field of a protobuf message; numbers here are below 16. */
const field = (number: number, value: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(value);
  const length: number[] = [];
  for (let left = bytes.length; ; left >>>= 7) {
    if (left < 0x80) {
      length.push(left);
      break;
    }
    length.push((left & 0x7f) | 0x80);
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
};
