// PEM text (RFC 7468) cut into blocks. It does not look inside a block; comments between blocks are skipped.

export interface PemBlock {
  /** `CERTIFICATE`, `CERTIFICATE REQUEST`, `PRIVATE KEY` … */
  readonly label: string;
  /** The whole block, with a newline at its end. */
  readonly text: string;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n[A-Za-z0-9+/=\s]+-----END \1-----/g;

export const pemBlocks = (text: string): readonly PemBlock[] =>
  [...text.matchAll(BLOCK)].map((m) => ({ label: m[1] ?? '', text: `${m[0].replaceAll('\r', '')}\n` }));

export const pemCertificates = (text: string): readonly string[] =>
  pemBlocks(text)
    .filter((b) => b.label === 'CERTIFICATE')
    .map((b) => b.text);
