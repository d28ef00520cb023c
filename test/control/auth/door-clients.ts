// Clients of the control plane's TLS door, with and without a certificate, and keys and requests for them.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Client, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { certificateRequest } from '../../../src/agent/csr.ts';
import { CREATE_CERTIFICATE_METHOD } from '../../../src/control/xds/server.ts';
import { decode, encode } from '../../../src/xds/codec.ts';
import type { DiscoveryResponse } from '../../../src/xds/gen/types.ts';
import { ADS_METHOD } from '../../../src/xds/resource-types.ts';
import { eventually, urlOf } from '../rig.ts';

export interface Proof {
  readonly token?: string;
  readonly certificate?: { readonly keyPem: string; readonly chainPem: string };
}

export interface Way {
  /** `tls:HOST:PORT` or `unix:PATH`. */
  readonly address: string;
  readonly rootsPem?: string;
}

const raw = (bytes: Buffer): Buffer => bytes;

const clientOf = ({ address, rootsPem }: Way, { certificate }: Proof): Client => {
  if (!address.startsWith('tls:')) return new Client(address, credentials.createInsecure());
  const key = certificate && Buffer.from(certificate.keyPem);
  const chain = certificate && Buffer.from(certificate.chainPem);
  const secure = credentials.createSsl(Buffer.from(rootsPem ?? ''), key ?? null, chain ?? null);
  // The name that Istio's agents check.
  return new Client(address.slice('tls:'.length), secure, { 'grpc.ssl_target_name_override': 'istiod.istio-system.svc' });
};

const metadataOf = ({ token }: Proof): Metadata => {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};

export interface Identity {
  readonly keyPem: string;
  readonly chainPem: string;
  readonly rootsPem: string;
}

/** A certificate for that URI; rejects with the gRPC status. */
export const join = async (way: Way, proof: Proof, uri: string, lifeS = 3600): Promise<Identity> => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const chain = await signed(way, proof, certificateRequest(privateKey, uri), lifeS);
  const roots = chain.at(-1) ?? '';
  return { keyPem: pemOf(privateKey), chainPem: chain.slice(0, -1).join(''), rootsPem: roots };
};

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const signed = (way: Way, proof: Proof, csr: string, lifeS: number): Promise<readonly string[]> => {
  const client = clientOf(way, proof);
  const body = Buffer.from(encode('istio.v1.auth.IstioCertificateRequest', { csr, validity_duration: lifeS }));
  return new Promise<readonly string[]>((resolve, reject) => {
    const deadline = { deadline: Date.now() + 20_000 };
    client.makeUnaryRequest(CREATE_CERTIFICATE_METHOD, raw, raw, body, metadataOf(proof), deadline, (error, reply) => {
      if (error || !reply) reject(error ?? new Error('no reply'));
      else resolve(decode('istio.v1.auth.IstioCertificateResponse', reply).cert_chain ?? []);
    });
  }).finally(() => client.close());
};

/** What an ADS stream of that node comes to: its first response, or the status that ended it. */
export const attach = async (
  way: Way,
  proof: Proof,
  node: string,
  metadata: { readonly [key: string]: unknown } = {},
): Promise<{ readonly code: number; readonly details: string; readonly response: DiscoveryResponse | undefined }> => {
  const client = clientOf(way, proof);
  const call = client.makeBidiStreamRequest(ADS_METHOD, raw, raw, metadataOf(proof));
  let status: StatusObject | undefined;
  let response: DiscoveryResponse | undefined;
  call.on('status', (s: StatusObject) => {
    status = s;
  });
  call.on('error', () => undefined);
  call.on('data', (bytes: Buffer) => {
    response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
  });
  call.write(
    Buffer.from(
      encode('envoy.service.discovery.v3.DiscoveryRequest', {
        node: { id: node, metadata: { ...metadata } as never },
        type_url: urlOf('CDS'),
      }),
    ),
  );
  await eventually('an answer', () => response !== undefined || status !== undefined);
  call.cancel();
  client.close();
  return { code: response ? 0 : (status?.code ?? -1), details: status?.details ?? '', response };
};

/** How a stream that was served ends by the server's word. */
export const endOf = async (way: Way, proof: Proof, node: string): Promise<StatusObject> => {
  const client = clientOf(way, proof);
  const call = client.makeBidiStreamRequest(ADS_METHOD, raw, raw, metadataOf(proof));
  let served = false;
  call.on('data', () => {
    served = true;
  });
  call.on('error', () => undefined);
  const ended = new Promise<StatusObject>((resolve) => call.on('status', resolve));
  call.write(Buffer.from(encode('envoy.service.discovery.v3.DiscoveryRequest', { node: { id: node }, type_url: urlOf('CDS') })));
  await eventually('a response', () => served);
  const status = await ended;
  client.close();
  return status;
};
