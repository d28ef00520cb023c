// x-forwarded-client-cert as Envoy's HCM treats it: forwarded, removed, or set from the client certificate of this connection.

import type { CertificateFacts } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { HcmPlan } from './hcm-plan.ts';

/** `local`: URI SAN of our own certificate. `peer` is undefined on plain text and when no certificate was shown. */
export const mutateClientCertHeader = (
  plan: HcmPlan,
  headers: HeaderBlock,
  tls: boolean,
  peer: CertificateFacts | undefined,
  local: string,
  cached: { text: string | undefined },
): void => {
  const mode = plan.forwardClientCert;
  if (mode === 'ALWAYS_FORWARD_ONLY') return;
  // Without TLS, or with no certificate shown, nothing a client says about one is believed.
  if (!tls || mode === 'SANITIZE' || peer === undefined) {
    headers.removeById(H.X_FORWARDED_CLIENT_CERT);
    return;
  }
  if (mode === 'FORWARD_ONLY') return;
  cached.text ??= clientCertElement(plan, peer, local);
  const before = mode === 'APPEND_FORWARD' ? headers.values('x-forwarded-client-cert').join(',') : '';
  headers.setById(H.X_FORWARDED_CLIENT_CERT, before === '' ? cached.text : `${before},${cached.text}`);
};

const clientCertElement = (plan: HcmPlan, peer: CertificateFacts, local: string): string => {
  const details = plan.clientCertDetails;
  const parts: string[] = [];
  if (local !== '') parts.push(`By=${local}`);
  parts.push(`Hash=${peer.sha256Fingerprint}`);
  if (details.cert) parts.push(`Cert="${peer.pem}"`);
  if (details.chain) parts.push(`Chain="${peer.pem}"`);
  if (details.subject) parts.push(`Subject="${peer.subject.replaceAll('"', '\\"')}"`);
  // The key stands there even for a certificate without one.
  if (details.uri) for (const uri of peer.uriSans.length > 0 ? peer.uriSans : ['']) parts.push(`URI=${uri}`);
  if (details.dns) for (const dns of peer.dnsSans) parts.push(`DNS=${dns}`);
  return parts.join(';');
};
