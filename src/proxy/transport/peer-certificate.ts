// What is remembered of a peer's certificate: SANs by kind at once (they are checked), everything else when asked for.

import { X509Certificate } from 'node:crypto';
import type { DetailedPeerCertificate, PeerCertificate } from 'node:tls';
import type { CertificateFacts } from '../../plan/stream-info.ts';

export interface SanList {
  readonly uri: readonly string[];
  readonly dns: readonly string[];
  readonly ip: readonly string[];
  readonly email: readonly string[];
}

/** `URI:spiffe://…, DNS:"a\u002cb", IP Address:…` as both runtimes print it: quoted entries are JSON strings. */
export const parseSans = (text: string | undefined): SanList => {
  const sans = { uri: [] as string[], dns: [] as string[], ip: [] as string[], email: [] as string[] };
  let rest = text ?? '';
  while (rest !== '') {
    const colon = rest.indexOf(':');
    if (colon < 0) break;
    const kind = rest.slice(0, colon);
    let value: string;
    if (rest[colon + 1] === '"') {
      const quoted = /^"(?:[^"\\]|\\.)*"/.exec(rest.slice(colon + 1))?.[0];
      if (quoted === undefined) break;
      value = unquote(quoted);
      rest = rest.slice(colon + 1 + quoted.length).replace(/^, /, '');
    } else {
      const comma = rest.indexOf(', ', colon);
      value = comma < 0 ? rest.slice(colon + 1) : rest.slice(colon + 1, comma);
      rest = comma < 0 ? '' : rest.slice(comma + 2);
    }
    if (kind === 'URI') sans.uri.push(value);
    else if (kind === 'DNS') sans.dns.push(value);
    else if (kind === 'IP Address') sans.ip.push(value);
    else if (kind === 'email') sans.email.push(value);
  }
  return sans;
};

const unquote = (text: string): string => {
  try {
    return String(JSON.parse(text));
  } catch {
    return '';
  }
};

export class PeerCertificateFacts implements CertificateFacts {
  readonly #certificate: PeerCertificate;
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly ipSans: readonly string[];
  readonly emailSans: readonly string[];
  /** DER: this certificate, then those above it that the handshake brought. */
  readonly chain: readonly Buffer[];

  constructor(certificate: PeerCertificate) {
    this.chain = chainOf(certificate, true);
    this.#certificate = certificate;
    const sans = parseSans(certificate.subjectaltname);
    this.uriSans = sans.uri;
    this.dnsSans = sans.dns;
    this.ipSans = sans.ip;
    this.emailSans = sans.email;
  }

  /** Of its key; '' when that is on none. */
  get curve(): string {
    const { asn1Curve } = this.#certificate;
    return typeof asn1Curve === 'string' ? asn1Curve : '';
  }
  get subject(): string {
    return distinguishedName(this.#certificate.subject);
  }
  get issuer(): string {
    return distinguishedName(this.#certificate.issuer);
  }
  get serial(): string {
    return this.#certificate.serialNumber?.toLowerCase() ?? '';
  }
  get sha256Fingerprint(): string {
    return (this.#certificate.fingerprint256 ?? '').replaceAll(':', '').toLowerCase();
  }
  get sha1Fingerprint(): string {
    return (this.#certificate.fingerprint ?? '').replaceAll(':', '').toLowerCase();
  }
  get pem(): string {
    const lines =
      this.#certificate.raw
        ?.toString('base64')
        .match(/.{1,64}/g)
        ?.join('\n') ?? '';
    return encodeURIComponent(`-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`);
  }
  get notBefore(): number {
    return Date.parse(this.#certificate.valid_from ?? '');
  }
  get notAfter(): number {
    return Date.parse(this.#certificate.valid_to ?? '');
  }
}

/** DER; the runtime links each to its issuer, the last to itself. `cut`: the links go, where the certificate is kept. */
export const chainOf = (certificate: PeerCertificate, cut = false): Buffer[] => {
  const chain: Buffer[] = [];
  let current: (PeerCertificate & Partial<Pick<DetailedPeerCertificate, 'issuerCertificate'>>) | undefined = certificate;
  while (current?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(current.raw);
    const above: DetailedPeerCertificate | undefined = current.issuerCertificate;
    if (cut) delete current.issuerCertificate;
    current = above === current ? undefined : above;
  }
  return chain;
};
const CHAIN_MAX = 8;

// RFC 2253: last attribute first, `,` between, special characters escaped.
const distinguishedName = (name: unknown): string => {
  if (typeof name !== 'object' || name === null) return '';
  const parts: string[] = [];
  for (const [key, value] of Object.entries(name))
    for (const one of Array.isArray(value) ? value : [value])
      parts.unshift(
        `${key}=${String(one)
          .replace(/([,+"\\<>;])/g, '\\$1')
          .replace(/^([ #])/, '\\$1')}`,
      );
  return parts.join(',');
};

/** Facts of the first certificate of a PEM chain. */
export const certificateFacts = (pem: string): CertificateFacts => {
  const certificate = new X509Certificate(pem);
  return new PeerCertificateFacts({ ...certificate.toLegacyObject(), subjectaltname: certificate.subjectAltName ?? '' });
};
