// Whom certificate revocation lists name, by issuer and serial number: asked when a list has changed, of peers that are connected. That a
// list is signed and in date is looked at by the TLS library, at handshakes; here lists are as good as the trust bundle beside them. Issuers
// are compared byte by byte. A list that cannot be read names nobody.

const LIST = /-----BEGIN (?:X509 )?CRL-----([^-]+)-----END (?:X509 )?CRL-----/g;

export class Revocations {
  readonly #named: ReadonlySet<string>;

  constructor(pem: string) {
    this.#named = new Set([...pem.matchAll(LIST)].flatMap((match) => namesIn(Buffer.from(match[1] ?? '', 'base64'))));
  }

  /** Somebody is named who was not `before`. */
  addsTo(before: Revocations | undefined): boolean {
    for (const name of this.#named) if (before === undefined || !before.#named.has(name)) return true;
    return false;
  }

  /** `chain`: DER. */
  names(chain: readonly Buffer[]): boolean {
    return chain.some((der) => this.#named.has(nameOf(der)));
  }
}

const INTEGER = 0x02;
const SEQUENCE = 0x30;
const VERSION = 0xa0;

interface Field {
  readonly tag: number;
  /** With its tag and length. */
  readonly whole: Buffer;
  readonly content: Buffer;
}

/** What lies side by side in `der`; ends before what is no whole field. */
const fieldsOf = (der: Buffer): Field[] => {
  const fields: Field[] = [];
  for (let at = 0; at + 2 <= der.length; ) {
    const first = der[at + 1] ?? 0;
    const extra = first < 0x80 ? 0 : first & 0x7f;
    if (extra > 4 || at + 2 + extra > der.length) break;
    const start = at + 2 + extra;
    const end = start + (extra === 0 ? first : der.readUIntBE(at + 2, extra));
    if (end > der.length) break;
    fields.push({ tag: der[at] ?? 0, whole: der.subarray(at, end), content: der.subarray(start, end) });
    at = end;
  }
  return fields;
};

/** The fields of the signed part of a certificate or list. */
const signedPart = (der: Buffer): Field[] => {
  const [outer] = fieldsOf(der);
  const [signed] = outer === undefined ? [] : fieldsOf(outer.content);
  return signed === undefined ? [] : fieldsOf(signed.content);
};

const named = (issuer: Field | undefined, serial: Field | undefined): string =>
  issuer === undefined || serial === undefined ? '' : `${issuer.whole.toString('latin1')}\n${serial.content.toString('latin1')}`;

const nameOf = (certificate: Buffer): string => {
  const fields = signedPart(certificate);
  const [serial, , issuer] = fields[0]?.tag === VERSION ? fields.slice(1) : fields;
  return named(issuer, serial);
};

const namesIn = (list: Buffer): string[] => {
  const fields = signedPart(list);
  const [, issuer, ...rest] = fields[0]?.tag === INTEGER ? fields.slice(1) : fields;
  // Behind one or two times; a list of nobody has none.
  const entries = rest.find((field) => field.tag === SEQUENCE);
  return entries === undefined ? [] : fieldsOf(entries.content).map((entry) => named(issuer, fieldsOf(entry.content)[0]));
};
