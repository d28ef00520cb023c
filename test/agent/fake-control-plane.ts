// A control plane for tests of the agent, on an independent gRPC implementation: a certificate authority, an ADS that the
// test drives, the operator's stream.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Metadata, Server, ServerCredentials, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import type { X509Certificate } from '@peculiar/x509';
import { decode, encode } from '../../src/xds/codec.ts';
import type { DiscoveryRequest, DiscoveryResponse } from '../../src/xds/gen/types.ts';
import { ADS_METHOD } from '../../src/xds/resource-types.ts';
import { x509 } from './x509.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const raw = (b: Buffer): Buffer => b;
const method = (path: string, stream: boolean) => ({
  path,
  requestStream: stream,
  responseStream: stream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});

export type AdsCall = ServerDuplexStream<Buffer, Buffer>;

/** Values in the order they came; `next` waits for the next one. */
export class Arrivals<T> {
  readonly all: T[] = [];
  #taken = 0;
  #waiting: (() => void)[] = [];
  push(value: T): void {
    this.all.push(value);
    for (const w of this.#waiting.splice(0)) w();
  }
  async next(timeoutMs = 20_000): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    while (this.all.length <= this.#taken) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`nothing arrived within ${timeoutMs} ms after ${this.#taken} values`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.all[this.#taken++] as T;
  }
  async until(wanted: (value: T) => boolean): Promise<T> {
    for (;;) {
      const value = await this.next();
      if (wanted(value)) return value;
    }
  }
}

export class FakeControlPlane {
  readonly path: string;
  readonly tokens = new Arrivals<string>();
  readonly csrs = new Arrivals<string>();
  readonly ads = new Arrivals<{ readonly call: AdsCall; readonly requests: Arrivals<DiscoveryRequest> }>();
  readonly operators = new Arrivals<{ readonly call: AdsCall; readonly replies: Arrivals<{ id: number; status: number; body: string }> }>();
  lifetimeMs = 3_600_000;
  /** Answers CreateCertificate with this status instead of a certificate. */
  refuse: number | undefined;
  /** The identity written into certificates. */
  identity = 'spiffe://cluster.local/ns/production/sa/web';
  rootPem = '';
  #server: Server | undefined;
  #ca: { certificate: X509Certificate; keys: Awaited<ReturnType<typeof makeCa>>['keys'] } | undefined;

  constructor(path: string) {
    this.path = path;
  }

  async start(): Promise<void> {
    this.#ca ??= await makeCa();
    this.rootPem = this.#ca.certificate.toString('pem');
    const server = new Server();
    server.addService(
      { CreateCertificate: method('/istio.v1.auth.IstioCertificateService/CreateCertificate', false) },
      {
        CreateCertificate: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
          void this.#issue(call.metadata, call.request, done),
      },
    );
    server.addService({ Ads: method(ADS_METHOD, true) }, { Ads: (call: AdsCall) => this.#serveAds(call) });
    server.addService({ Attach: method('/skein.v1.Operator/Attach', true) }, { Attach: (call: AdsCall) => this.#serveOperator(call) });
    this.#server = server;
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${this.path}`, ServerCredentials.createInsecure(), (e) => (e ? reject(e) : resolve())),
    );
  }

  /** As a killed process: connections drop. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    rmSync(this.path, { force: true });
  }

  async #issue(metadata: Metadata, bytes: Buffer, done: sendUnaryData<Buffer>): Promise<void> {
    this.tokens.push(String(metadata.get('authorization')[0] ?? ''));
    const { csr = '' } = decode('istio.v1.auth.IstioCertificateRequest', bytes);
    this.csrs.push(csr);
    if (this.refuse !== undefined) return done({ code: this.refuse, details: 'refused by the test' });
    const ca = this.#ca;
    if (!ca) return done({ code: 13, details: 'no authority' });
    const request = new x509.Pkcs10CertificateRequest(csr);
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: String(1000 + this.csrs.all.length),
      subject: '',
      issuer: ca.certificate.subject,
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + this.lifetimeMs),
      publicKey: request.publicKey,
      signingKey: ca.keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: this.identity }], true)],
    });
    done(null, Buffer.from(encode('istio.v1.auth.IstioCertificateResponse', { cert_chain: [leaf.toString('pem'), this.rootPem] })));
  }

  #serveAds(call: AdsCall): void {
    const requests = new Arrivals<DiscoveryRequest>();
    call.on('data', (b: Buffer) => requests.push(decode('envoy.service.discovery.v3.DiscoveryRequest', b)));
    call.on('error', () => {});
    call.on('end', () => call.end());
    this.ads.push({ call, requests });
  }

  #serveOperator(call: AdsCall): void {
    const replies = new Arrivals<{ id: number; status: number; body: string }>();
    call.on('data', (b: Buffer) => replies.push(JSON.parse(b.toString('utf8'))));
    call.on('error', () => {});
    call.on('end', () => call.end());
    this.operators.push({ call, replies });
  }
}

export const respond = (call: AdsCall, response: DiscoveryResponse): Buffer => {
  const bytes = Buffer.from(encode('envoy.service.discovery.v3.DiscoveryResponse', response));
  call.write(bytes);
  return bytes;
};

const makeCa = async () => {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'O=test root',
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return { certificate, keys };
};

/** A folder of the test's own, removed by `remove`. */
export const scratch = () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-agent-'));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
};
