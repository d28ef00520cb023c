// The workload's key and certificate over time, and the roots that it trusts: makes a key, asks the authority, renews at half-life, retries
// with back-off, takes the roots of each answer and those that the control plane sends in between. A certificate whose root is not trusted
// any more is replaced at once. The key lives in this process's memory and leaves it only through `onSecret` (SDS). On failure the old
// certificate stays until it expires. Never writes a key, never logs a key, a token or a request.
import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { Log } from '../base/log.ts';
import { err, type Result } from '../base/result.ts';
import { anchorOf } from '../identity/anchor-scope.ts';
import { renewInMs } from '../identity/rotation.ts';
import type { GrpcStatus } from '../wire/grpc-frames.ts';
import { decode, encode } from '../xds/codec.ts';
import { BackOff } from './back-off.ts';
import { certificatesIn, checkIssued, firstEndMs, type IssuedCertificate, joinPem, rootOf } from './certificate.ts';
import { certificateRequest } from './csr.ts';
import { CERTIFICATE_CALL_TIMEOUT_MS, CERTIFICATE_RETRY_MS, REPLACE_MS, RETIRED_ROOTS_MAX, ROOTS_MAX, TIMER_MS_MAX } from './limits.ts';

export const CREATE_CERTIFICATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
const generate = promisify(generateKeyPair);
const CALL_MS_MIN = 3_000;

export interface WorkloadSecret {
  readonly certificate: IssuedCertificate;
  /** PKCS#8 PEM. */
  readonly privateKeyPem: string;
  /** PEM; roots that were trusted until no certificate below them was in use any more. Connections of those days need not end. */
  readonly retiredRoots?: readonly string[];
}

export interface WorkloadIdentityOptions {
  /** SPIFFE id. */
  readonly identity: string;
  readonly ttlS: number;
  /** One unary call to the certificate authority, with the workload's credentials. */
  readonly call: (method: string, request: Uint8Array, timeoutMs: number) => Promise<Result<Uint8Array, GrpcStatus>>;
  readonly onSecret: (secret: WorkloadSecret) => void;
  readonly log: Log;
}

export class WorkloadIdentity {
  readonly #options: WorkloadIdentityOptions;
  readonly #backOff = new BackOff(CERTIFICATE_RETRY_MS, Math.random);
  #secret: WorkloadSecret | undefined;
  /** What is trusted. */
  #roots: readonly string[] = [];
  /** Of the roots that signed for us, when the last certificate ends. */
  readonly #ends = new Map<string, number>();
  #retired: readonly string[] = [];
  /** What the control plane last sent, and how often it has. */
  #sent: readonly string[] = [];
  #sendings = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The roots are told at the latest then, with the old certificate if there is no new one. */
  #tellTimer: NodeJS.Timeout | undefined;
  #asking = false;
  #stopped = false;

  constructor(options: WorkloadIdentityOptions) {
    this.#options = options;
  }

  /** A certificate is there and has not expired. */
  get valid(): boolean {
    return this.#expiresAtMs > Date.now();
  }

  get secret(): WorkloadSecret | undefined {
    return this.#secret;
  }

  /** Milliseconds of the epoch; of the roots the first that ends. Undefined before there are any. */
  get ends(): { readonly leafMs: number; readonly rootMs: number } | undefined {
    return this.#secret && { leafMs: this.#expiresAtMs, rootMs: firstEndMs(this.#roots) };
  }

  start(): void {
    void this.#renew(); // settles by itself: every failure is logged and retried
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#tellTimer);
  }

  /** The roots that the control plane trusts now; throws when they cannot be read. None is no word on the matter. */
  trust(texts: readonly string[]): void {
    const sent = [...new Set(texts.flatMap(certificatesIn))];
    if (sent.length === 0 || this.#stopped) return;
    if (sent.length > ROOTS_MAX) throw new Error(`${sent.length} roots are sent, at most ${ROOTS_MAX} are taken`);
    firstEndMs(sent);
    this.#sent = sent;
    this.#sendings += 1;
    if (sent.length === this.#roots.length && sent.every((pem) => this.#roots.includes(pem))) return;
    this.#options.log.info('other roots are trusted', { roots: sent.length, before: this.#roots.length });
    this.#trustOnly(sent);
    if (!this.#secret) return;
    if (rootOf(this.#secret.certificate.chainPem, sent) !== undefined) {
      this.#tell();
      return;
    }
    // Peers are about to refuse our certificate: with a new one at once, they hardly do. All workloads come now, so not in one instant.
    this.#options.log.warning('the root of this certificate is not trusted any more: it is replaced');
    this.#tellTimer = setTimeout(() => this.#tell(), REPLACE_MS.tell);
    this.#at(Date.now() + Math.random() * REPLACE_MS.spread);
  }

  /** A root that goes while a certificate of ours below it lives was taken away; else it was replaced in good order. */
  #trustOnly(roots: readonly string[]): void {
    const kept = new Set(roots.map(bare));
    const gone = this.#roots.filter((pem) => !kept.has(bare(pem)));
    this.#roots = roots;
    const now = Date.now();
    const taken = gone.some((pem) => (this.#ends.get(bare(pem)) ?? 0) > now);
    this.#retired = taken ? [] : [...this.#retired, ...gone].filter((pem) => !kept.has(bare(pem))).slice(-RETIRED_ROOTS_MAX);
    for (const pem of gone) this.#ends.delete(bare(pem));
  }

  get #expiresAtMs(): number {
    return this.#secret?.certificate.notAfterMs ?? 0;
  }

  #tell(): void {
    clearTimeout(this.#tellTimer);
    if (!this.#secret || this.#stopped) return;
    const { certificate, privateKeyPem } = this.#secret;
    this.#secret = { certificate: { ...certificate, rootsPem: joinPem(this.#roots) }, privateKeyPem, retiredRoots: this.#retired };
    this.#options.onSecret(this.#secret);
  }

  async #renew(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const { log, identity } = this.#options;
    const sendings = this.#sendings;
    const outcome = await this.#request();
    this.#asking = false;
    if (this.#stopped) return;
    const now = Date.now();
    const leftMs = this.#expiresAtMs - now;
    if (!outcome.ok) {
      // Of a short life not much may be waited away.
      const delayMs = Math.min(
        this.#backOff.nextMs(),
        leftMs > 0 ? Math.max(CERTIFICATE_RETRY_MS.first, leftMs / 4) : Number.POSITIVE_INFINITY,
      );
      const validForS = this.#secret === undefined ? undefined : Math.round(leftMs / 1000);
      log.warning('certificate not issued', { identity, problem: outcome.error, retryMs: Math.round(delayMs), validForS });
      this.#at(now + delayMs);
      return;
    }
    this.#backOff.reset();
    const { certificate } = outcome.value;
    this.#secret = outcome.value;
    const answered = certificatesIn(certificate.rootsPem);
    this.#trustOnly(this.#rootsAfter(answered, sendings));
    const root = rootOf(certificate.chainPem, answered);
    if (root !== undefined) this.#ends.set(bare(root), certificate.notAfterMs);
    // Of what is left: an authority may date a certificate back, and a short one would be due at once.
    const usable = root === undefined || this.#roots.some((one) => bare(one) === bare(root));
    const delayMs = usable ? renewInMs({ notBeforeMs: now, notAfterMs: certificate.notAfterMs }, now, Math.random()) : REPLACE_MS.again;
    log.info('certificate issued', {
      identity,
      serial: certificate.serial,
      expires: new Date(certificate.notAfterMs).toISOString(),
      renewS: Math.round(delayMs / 1000),
    });
    this.#at(now + delayMs);
    this.#tell();
  }

  /** An answer that was asked for before the control plane last spoke is older than its word; one with roots of which it has not spoken is newer. */
  #rootsAfter(answered: readonly string[], sendings: number): readonly string[] {
    if (this.#sent.length === 0) return answered;
    if (sendings !== this.#sendings || answered.every((pem) => this.#sent.includes(pem))) return this.#sent;
    return [...new Set([...this.#sent, ...answered])];
  }

  async #request(): Promise<Result<WorkloadSecret, string>> {
    const { identity, ttlS, call } = this.#options;
    try {
      const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
      const request = encode('istio.v1.auth.IstioCertificateRequest', {
        csr: certificateRequest(privateKey, identity),
        validity_duration: ttlS,
      });
      const answer = await call(CREATE_CERTIFICATE, request, this.#patienceMs());
      if (!answer.ok) return err(`status ${answer.error.code}: ${answer.error.message}`);
      const chain = decode('istio.v1.auth.IstioCertificateResponse', answer.value).cert_chain ?? [];
      const checked = checkIssued(chain, privateKey, identity, Date.now());
      if (!checked.ok) return checked;
      return { ok: true, value: { certificate: checked.value, privateKeyPem: exportPem(privateKey) } };
    } catch (e) {
      return err(e instanceof Error ? e.message : String(e));
    }
  }

  /** A call that hangs is given up while there is time for another. */
  #patienceMs(): number {
    const leftMs = this.#expiresAtMs - Date.now();
    return leftMs > 0 ? Math.max(CALL_MS_MIN, Math.min(CERTIFICATE_CALL_TIMEOUT_MS, leftMs / 2)) : CERTIFICATE_CALL_TIMEOUT_MS;
  }

  /** Looks at the wall clock again at least once a minute, so a machine that slept renews at once. */
  #at(dueMs: number): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    const leftMs = dueMs - Date.now();
    this.#timer = setTimeout(
      () => (dueMs <= Date.now() ? void this.#renew() : this.#at(dueMs)),
      Math.max(1, Math.min(leftMs, TIMER_MS_MAX)),
    );
  }
}

/** Without what it is for. */
const bare = (text: string): string => anchorOf(text).pem;

const exportPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
