// What Envoy's access log service is told of a connection's TLS: version, suite, name asked for, both certificates.
import type { ProtoBuffer } from './proto-buffer.ts';
import type { CertificateFacts, StreamInfo } from './stream-info.ts';

const VERSIONS: Readonly<Record<string, number>> = { TLSv1: 1, 'TLSv1.1': 2, 'TLSv1.2': 3, 'TLSv1.3': 4 };

/** IANA's numbers of the suites that are spoken here, by OpenSSL's names. */
const SUITES: Readonly<Record<string, number>> = {
  TLS_AES_128_GCM_SHA256: 0x1301,
  TLS_AES_256_GCM_SHA384: 0x1302,
  TLS_CHACHA20_POLY1305_SHA256: 0x1303,
  'ECDHE-ECDSA-AES128-GCM-SHA256': 0xc02b,
  'ECDHE-ECDSA-AES256-GCM-SHA384': 0xc02c,
  'ECDHE-RSA-AES128-GCM-SHA256': 0xc02f,
  'ECDHE-RSA-AES256-GCM-SHA384': 0xc030,
  'ECDHE-RSA-CHACHA20-POLY1305': 0xcca8,
  'ECDHE-ECDSA-CHACHA20-POLY1305': 0xcca9,
  'ECDHE-ECDSA-AES128-SHA': 0xc009,
  'ECDHE-ECDSA-AES256-SHA': 0xc00a,
  'ECDHE-RSA-AES128-SHA': 0xc013,
  'ECDHE-RSA-AES256-SHA': 0xc014,
  'AES128-GCM-SHA256': 0x009c,
  'AES256-GCM-SHA384': 0x009d,
  'AES128-SHA': 0x002f,
  'AES256-SHA': 0x0035,
};

const LOCAL = 4;
const PEER = 5;

export const writeTlsProperties = (out: ProtoBuffer, field: number, info: StreamInfo): void => {
  const { downstreamTls: tls, requestedServerName: sni, ja3Fingerprint: ja3 } = info;
  if (tls === undefined && sni === '' && ja3 === '') return;
  const at = out.begin(field);
  if (tls !== undefined) {
    out.uint(1, VERSIONS[tls.version] ?? 0);
    const suite = out.begin(2);
    out.uint(1, SUITES[tls.cipher] ?? 0);
    out.end(suite);
  }
  out.string(3, sni);
  if (tls !== undefined) {
    writeCertificate(out, LOCAL, tls.local);
    writeCertificate(out, PEER, tls.peer);
    out.string(6, tls.sessionId);
  }
  out.string(7, ja3);
  out.end(at);
};

/** As Envoy: of the names those that are URIs, the issuer of the peer's alone. */
const writeCertificate = (out: ProtoBuffer, field: number, certificate: CertificateFacts | undefined): void => {
  const at = out.begin(field);
  if (certificate !== undefined) {
    for (const uri of certificate.uriSans) {
      const name = out.begin(1);
      out.string(1, uri);
      out.end(name);
    }
    out.string(2, certificate.subject);
    if (field === PEER) out.string(3, certificate.issuer);
  }
  out.end(at);
};
