// Certificates in files beside the proxy, by the names that istiod's configuration gives them: `file-cert:<chain>~<key>` and
// `file-root:<bundle>`. Read when asked for, read again when a file changes; a pair that does not fit, as in the middle of
// a renewal, is not served and the last good one stays. Only absolute paths, only PEM certificates and keys leave a file.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, normalize } from 'node:path';
import { err, ok, type Result } from '../base/result.ts';
import type { Secret } from '../xds/gen/types.ts';
import { SECRET_FILE_BYTES_MAX, SECRET_FILE_POLL_MS, SECRET_FILES_MAX } from './limits.ts';

const CERT = 'file-cert:';
const ROOT = 'file-root:';
/** Stands for the trust store of the machine. */
const SYSTEM = 'system';
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

export const isFileSecret = (name: string): boolean => name.startsWith(CERT) || name.startsWith(ROOT);

export interface FileSecretsOptions {
  readonly onSecret: (secret: Secret) => void;
  /** Once per reason, not once per look. */
  readonly onProblem: (name: string, problem: string) => void;
  readonly pollMs?: number;
}

interface Held {
  /** Of the files as last served; undefined before. */
  stamp: string | undefined;
  problem: string;
}

export class FileSecrets {
  readonly #options: FileSecretsOptions;
  readonly #held = new Map<string, Held>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FileSecretsOptions) {
    this.#options = options;
  }

  /** These names and no others are read and watched from now on. */
  want(names: ReadonlySet<string>): void {
    for (const name of this.#held.keys()) if (!names.has(name)) this.#held.delete(name);
    for (const name of names) {
      if (this.#held.has(name) || this.#held.size >= SECRET_FILES_MAX) continue;
      const held: Held = { stamp: undefined, problem: '' };
      this.#held.set(name, held);
      this.#look(name, held);
    }
    if (this.#held.size === 0) this.close();
    else this.#timer ??= this.#startTimer();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Polling sees every way of replacing a file, swapped links of mounted secrets included. */
  #startTimer(): NodeJS.Timeout {
    const timer = setInterval(() => {
      for (const [name, held] of this.#held) this.#look(name, held);
    }, this.#options.pollMs ?? SECRET_FILE_POLL_MS);
    timer.unref();
    return timer;
  }

  #look(name: string, held: Held): void {
    const paths = pathsOf(name);
    const stamp = paths.ok ? paths.value.map(stampOf).join() : '';
    if (paths.ok && stamp === held.stamp && held.problem === '') return;
    const secret = paths.ok ? secretOf(name, paths.value) : paths;
    if (!secret.ok) {
      // Once per reason: a file that is missing would be told at every look.
      if (held.problem !== secret.error) this.#options.onProblem(name, secret.error);
      held.problem = secret.error;
      return;
    }
    held.problem = '';
    if (stamp === held.stamp) return;
    held.stamp = stamp;
    this.#options.onSecret(secret.value);
  }
}

const secretOf = (name: string, paths: readonly string[]): Result<Secret, string> =>
  name.startsWith(CERT) ? certificateOf(name, paths) : rootOf(name, paths);

const pathsOf = (name: string): Result<readonly string[], string> => {
  const text = name.slice(CERT.length); // both prefixes are of one length
  const paths = name.startsWith(CERT) ? text.split('~') : text === SYSTEM ? [systemBundle()] : [text];
  if (name.startsWith(CERT) && paths.length !== 2) return err('wants <certificate chain>~<private key>');
  const wrong = paths.find((p) => !isAbsolute(p) || normalize(p) !== p);
  return wrong === undefined ? ok(paths) : err(`${JSON.stringify(wrong)} is not an absolute path`);
};

const systemBundle = (): string => SYSTEM_BUNDLES.find((p) => stampOf(p) !== '') ?? SYSTEM_BUNDLES[0] ?? '';

/** Empty when there is no such file. */
const stampOf = (path: string): string => {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(path);
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch {
    return '';
  }
};

const read = (path: string): Result<string, string> => {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return err(`${path} is not a file`);
    if (stat.size > SECRET_FILE_BYTES_MAX) return err(`${path} is larger than ${SECRET_FILE_BYTES_MAX} bytes`);
    return ok(readFileSync(path, 'latin1'));
  } catch (e) {
    return err(`${path} cannot be read: ${(e as NodeJS.ErrnoException).code ?? String(e)}`);
  }
};

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

const certificatesIn = (path: string): Result<readonly string[], string> => {
  const text = read(path);
  if (!text.ok) return text;
  const found = text.value.match(CERTIFICATES) ?? [];
  return found.length === 0 ? err(`${path} holds no PEM certificate`) : ok(found);
};

const bytes = (pems: readonly string[]): Uint8Array => Buffer.from(`${pems.join('\n')}\n`, 'latin1');

const rootOf = (name: string, [path = '']: readonly string[]): Result<Secret, string> => {
  const found = certificatesIn(path);
  return found.ok ? ok({ name, validation_context: { trusted_ca: { inline_bytes: bytes(found.value) } } }) : found;
};

const certificateOf = (name: string, [chainPath = '', keyPath = '']: readonly string[]): Result<Secret, string> => {
  const chain = certificatesIn(chainPath);
  if (!chain.ok) return chain;
  const text = read(keyPath);
  if (!text.ok) return text;
  let key: KeyObject;
  try {
    key = createPrivateKey(text.value);
  } catch {
    return err(`${keyPath} holds no PEM private key without a passphrase`);
  }
  try {
    if (!new X509Certificate(chain.value[0] ?? '').checkPrivateKey(key)) return err(`${keyPath} is not the key of ${chainPath}`);
  } catch (e) {
    return err(`${chainPath}: ${e instanceof Error ? e.message : String(e)}`);
  }
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  return ok({
    name,
    tls_certificate: { certificate_chain: { inline_bytes: bytes(chain.value) }, private_key: { inline_bytes: Buffer.from(pem, 'latin1') } },
  });
};
