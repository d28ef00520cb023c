// A signer elsewhere: a command that takes a certificate request (PEM) on standard input and prints the chain (PEM, leaf first).
// SKEIN_SPIFFE_ID and SKEIN_TTL_SECONDS say what is wanted. The answer is checked as a stranger's: our key, that identity and nothing
// else, no authority, no longer life, and a chain to the roots that the operator named. What the command prints on standard error is logged.
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { CsrRefusal } from '../../identity/csr-policy.ts';
import { pemCertificates } from '../../identity/pem.ts';
import { trustBundle } from '../../identity/trust-bundle.ts';
import { SIGNER_CALLS_MAX, SIGNER_OUTPUT_BYTES_MAX, SIGNER_TIMEOUT_MS } from '../limits.ts';
import { type Authority, type AuthorityAbout, issued, type LeafRequest, rootAbout, rootId, type SignedLeaf } from './authority.ts';
import { CaMaterialError } from './material.ts';

export interface SignerAuthorityOptions {
  /** Run by the shell. */
  readonly command: string;
  /** What the signer's certificates chain to. */
  readonly rootsFile: string;
  readonly trustDomain: string;
  readonly now: () => number;
  readonly log: Log;
}

export class SignerAuthority implements Authority {
  readonly kind = 'signer';
  readonly roots: readonly string[];
  readonly #options: SignerAuthorityOptions;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** Throws CaMaterialError. */
  constructor(options: SignerAuthorityOptions) {
    this.#options = options;
    this.roots = readRoots(options);
  }

  async sign(request: LeafRequest): Promise<Result<SignedLeaf, CsrRefusal>> {
    if (this.#running >= SIGNER_CALLS_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      const output = await runSigner(this.#options.command, request);
      if (!output.ok) {
        this.#options.log.warning('the external signer failed', { problem: output.error });
        return err({ kind: 'unavailable', message: 'the external signer did not sign' });
      }
      const checked = checkSigned(output.value, request, this.roots, this.#options.now());
      if (checked.ok) return checked;
      this.#options.log.error('the external signer gave a certificate that is not used', {
        problem: checked.error,
        identity: request.uriSan,
      });
      return err({ kind: 'unavailable', message: 'the external signer gave a certificate that is not used' });
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  material(): undefined {
    return undefined;
  }

  about(): AuthorityAbout {
    return { roots: this.roots.map((pem) => rootAbout(rootId(pem), pem, true)), intermediate: undefined, rotation: undefined };
  }

  close(): void {}
}

const readRoots = ({ rootsFile, trustDomain }: SignerAuthorityOptions): readonly string[] => {
  let text: string;
  try {
    text = readFileSync(rootsFile, 'utf8');
  } catch (error) {
    throw new CaMaterialError(`cannot read ${rootsFile}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  const bundle = trustBundle(trustDomain, text);
  if (!bundle.ok) throw new CaMaterialError(`${rootsFile}: ${bundle.error}`);
  return bundle.value.roots;
};

const runSigner = (command: string, { csrPem, uriSan, lifeMs }: LeafRequest): Promise<Result<string, string>> =>
  new Promise((resolve) => {
    const env = { ...process.env, SKEIN_SPIFFE_ID: uriSan, SKEIN_TTL_SECONDS: String(Math.floor(lifeMs / 1000)) };
    const child = spawn('/bin/sh', ['-c', command], { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    let said = '';
    let printed = '';
    const endAll = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has gone by itself.
      }
    };
    const timer = setTimeout(() => {
      endAll();
      resolve(err(`it took longer than ${SIGNER_TIMEOUT_MS / 1000} s`));
    }, SIGNER_TIMEOUT_MS);
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString('latin1');
      if (printed.length <= SIGNER_OUTPUT_BYTES_MAX) return;
      endAll();
      resolve(err(`it printed more than ${SIGNER_OUTPUT_BYTES_MAX} bytes`));
    });
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(0, 500)));
    child.stdin.on('error', () => undefined);
    child.once('error', (error) => resolve(err(error.message)));
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve(code === 0 ? ok(printed) : err(`exit code ${code}: ${said.trim()}`));
    });
    child.stdin.end(csrPem);
  });

const checkSigned = (output: string, request: LeafRequest, roots: readonly string[], nowMs: number): Result<SignedLeaf, string> => {
  const chain = pemCertificates(output).filter((pem) => !roots.includes(pem));
  const [leafPem] = chain;
  if (leafPem === undefined) return err('no certificate was printed');
  try {
    const leaf = new X509Certificate(leafPem);
    const wanted = Buffer.from(request.publicKey.rawData);
    if (!leaf.publicKey.export({ type: 'spki', format: 'der' }).equals(wanted)) return err('it is for another key');
    if (leaf.subjectAltName !== `URI:${request.uriSan}`) return err(`it is for ${leaf.subjectAltName ?? 'no name'}`);
    if (leaf.ca) return err('it is one of an authority');
    const notAfterMs = Date.parse(leaf.validTo);
    if (!(notAfterMs > nowMs)) return err(`it expired at ${leaf.validTo}`);
    if (notAfterMs > nowMs + request.lifeMs + CLOCK_MS) return err(`it lives until ${leaf.validTo}, longer than asked for`);
    for (const [i, pem] of chain.entries()) {
      const next = chain[i + 1];
      if (next === undefined) {
        const root = roots.find((r) => issued(r, pem));
        return root === undefined ? err('it does not chain to the roots') : ok({ chain, notAfterMs, root: rootId(root) });
      }
      if (!issued(next, pem)) return err('the chain is not in order');
    }
    return err('no certificate was printed');
  } catch (error) {
    return err(error instanceof Error ? error.message : String(error));
  }
};

/** The signer's clock may be so much ahead. */
const CLOCK_MS = 60_000;
