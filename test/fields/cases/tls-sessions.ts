// TLS that a listener ends: which certificates are taken back, how long a session may be taken up again, what is asked of staples.
import '../../../src/control/ca/reflect-metadata.ts';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { BasicConstraintsExtension, cryptoProvider, X509CertificateGenerator, X509CrlGenerator, X509CrlReason } from '@peculiar/x509';
import { PlanError } from '../../../src/plan/plan-error.ts';
import type { CertificateValidationContext, DownstreamTlsContext, TransportSocket } from '../../../src/xds/gen/types.ts';
import { createAuthority } from '../../proxy/certificates.ts';
import { chains, hcm } from '../../proxy/harness.ts';
import { type FieldCase, listener, live } from '../case.ts';

const authority = createAuthority('fields');
const server = authority.issue({ dns: 'b.test' });
const pem = (text: string) => ({ inline_string: text });
const certificate = { certificate_chain: pem(server.certificate), private_key: pem(server.key) };

const terminating = (config: DownstreamTlsContext): TransportSocket => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', ...config },
});
const ended = (
  name: string,
  config: () => DownstreamTlsContext,
  observe: FieldCase['observe'],
  expect: unknown,
  start?: FieldCase['start'],
): FieldCase => ({
  name,
  ...(start === undefined ? {} : { start }),
  parts: () => [
    listener(
      chains('in', [
        { transport_socket: terminating(config()), filters: [hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }])] },
      ]),
    ),
  ],
  observe,
  expect,
});

const HANDSHAKE_MS = 1_000;
const dial = (port: number, more: object = {}): TLSSocket => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'b.test', ...more });
  socket.on('error', () => undefined);
  socket.setTimeout(HANDSHAKE_MS, () => socket.destroy());
  return socket;
};

interface Issued {
  readonly certificate: string;
  readonly key: string;
}
let revoking: { readonly root: string; readonly crl: string; readonly revoked: Issued; readonly good: Issued };
/** An authority that has taken back one of its two certificates. */
const startRevoking = async (): Promise<AsyncDisposable> => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const crypto = cryptoProvider.get();
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const dates = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
  const extensions = [new BasicConstraintsExtension(true, undefined, true)];
  const root = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=root',
    keys,
    signingAlgorithm: algorithm,
    extensions,
    ...dates,
  });
  const issue = async (serialNumber: string): Promise<Issued> => {
    const own = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const issued = await X509CertificateGenerator.create({
      serialNumber,
      subject: `CN=${serialNumber}`,
      issuer: root.subject,
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      ...dates,
    });
    const key = Buffer.from(await crypto.subtle.exportKey('pkcs8', own.privateKey)).toString('base64');
    return { certificate: issued.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n` };
  };
  const crl = await X509CrlGenerator.create({
    issuer: root.subject,
    thisUpdate: dates.notBefore,
    nextUpdate: dates.notAfter,
    signingKey: keys.privateKey,
    signingAlgorithm: algorithm,
    entries: [{ serialNumber: '02', revocationDate: dates.notBefore, reason: X509CrlReason.unspecified }],
  });
  revoking = {
    root: root.toString('pem'),
    crl: crl.toString('pem').replaceAll(/ (X509 )?CRL/g, ' X509 CRL'),
    revoked: await issue('02'),
    good: await issue('03'),
  };
  return { [Symbol.asyncDispose]: async () => undefined };
};
const answered = async (port: number, { certificate: cert, key }: Issued): Promise<string> => {
  const socket = dial(port, { cert, key });
  socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n'));
  let text = '';
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1');
  });
  await once(socket, 'close').catch(() => undefined);
  return text === '' ? 'sent away' : text.slice(9, 12);
};
const takenBack = ended(
  'tls-taken-back',
  () => ({
    require_client_certificate: true,
    common_tls_context: {
      tls_certificates: [certificate],
      validation_context: { trusted_ca: pem(revoking.root), crl: pem(revoking.crl) } satisfies CertificateValidationContext,
    },
  }),
  live(async ({ port }) => [await answered(port(), revoking.revoked), await answered(port(), revoking.good)]),
  ['sent away', '200'],
  startRevoking,
);

/** A session's ticket says how long it may be used: [9] of the session's own form, 0x1234 seconds. */
const HINT = /a90402021234/;
const sessionTime = ended(
  'tls-session-time',
  () => ({ session_timeout: '4660s', common_tls_context: { tls_certificates: [certificate] } }),
  live(async ({ port }) => {
    const socket = dial(port(), { maxVersion: 'TLSv1.2' });
    const [session] = (await once(socket, 'session')) as [Buffer];
    socket.destroy();
    return HINT.test(session.toString('hex'));
  }),
  true,
);

const stapled = ended(
  'tls-must-staple',
  () => ({ ocsp_staple_policy: 'MUST_STAPLE', common_tls_context: { tls_certificates: [certificate] } }),
  async (parts) => {
    try {
      return await live(async () => 'taken')(parts);
    } catch (problem) {
      return problem instanceof PlanError ? `refused ${problem.path.split('.').at(-1)}` : String(problem);
    }
  },
  'refused ocsp_staple_policy',
);

export const TLS_SESSION_CASES: readonly FieldCase[] = [takenBack, sessionTime, stapled];
