// Who a TLS peer is, by the certificate that was checked against the mesh's roots in the handshake: exactly one URI, a SPIFFE id of our
// trust domain, and an end that has not come. Pure.
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { err, ok, type Result } from '../../base/result.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import type { Caller } from './caller.ts';

export const certificateCaller = (certificate: X509Certificate, trustDomain: string, nowMs: number): Result<Caller, string> => {
  const uris = (certificate.subjectAltName ?? '').split(/,\s*/).filter((name) => name.startsWith('URI:'));
  const [uri] = uris;
  if (uri === undefined || uris.length !== 1) return err(`the certificate names ${uris.length} URIs, not one identity`);
  const identity = parseSpiffeId(uri.slice('URI:'.length).replace(/^"(.*)"$/, '$1'));
  if (!identity.ok) return err('the certificate is of no workload');
  if (identity.value.trustDomain !== trustDomain) return err('the certificate is of another trust domain');
  const expiresAtMs = Date.parse(certificate.validTo);
  if (!(expiresAtMs > nowMs) || !(Date.parse(certificate.validFrom) <= nowMs))
    return err('the certificate has expired, or is not valid yet');
  const { namespace, serviceAccount } = identity.value;
  return ok({ namespace, serviceAccount, name: '', address: '', proof: 'certificate', expiresAtMs });
};

/** What the peer brought; whether it was checked, the socket says. */
export const peerX509 = (socket: TLSSocket): X509Certificate | undefined => {
  const { raw } = socket.getPeerCertificate();
  return raw === undefined ? undefined : new X509Certificate(raw);
};
