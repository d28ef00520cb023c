// The workload's key and certificate over time: makes a key, asks the authority, renews at half-life, retries with back-off.
// The key lives in this process's memory and leaves it only through `onSecret` (SDS). On failure the old certificate
// stays until it expires. Never writes a key, never logs a key, a token or a request.
import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { Log } from '../base/log.ts';
import { err, type Result } from '../base/result.ts';
import { renewInMs } from '../identity/rotation.ts';
import type { GrpcStatus } from '../wire/grpc-frames.ts';
import { decode, encode } from '../xds/codec.ts';
import { BackOff } from './back-off.ts';
import { checkIssued, type IssuedCertificate } from './certificate.ts';
import { certificateRequest } from './csr.ts';
import { CERTIFICATE_CALL_TIMEOUT_MS, CERTIFICATE_RETRY_MS, TIMER_MS_MAX } from './limits.ts';

const CREATE_CERTIFICATE = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
const generate = promisify(generateKeyPair);

export interface WorkloadSecret {
  readonly certificate: IssuedCertificate;
  /** PKCS#8 PEM. */
  readonly privateKeyPem: string;
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
  #expiresAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: WorkloadIdentityOptions) {
    this.#options = options;
  }

  /** A certificate is there and has not expired. */
  get valid(): boolean {
    return this.#expiresAtMs > Date.now();
  }

  start(): void {
    void this.#renew(); // settles by itself: every failure is logged and retried
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #renew(): Promise<void> {
    const { log, identity, onSecret } = this.#options;
    const outcome = await this.#request();
    if (this.#stopped) return;
    if (!outcome.ok) {
      const delayMs = this.#backOff.nextMs();
      const validForS = this.#expiresAtMs === 0 ? undefined : Math.round((this.#expiresAtMs - Date.now()) / 1000);
      log.warning('certificate not issued', { identity, problem: outcome.error, retryMs: Math.round(delayMs), validForS });
      this.#at(Date.now() + delayMs);
      return;
    }
    this.#backOff.reset();
    const { certificate } = outcome.value;
    this.#expiresAtMs = certificate.notAfterMs;
    const now = Date.now();
    // Of what is left: an authority may date a certificate back, and a short one would be due at once.
    const delayMs = renewInMs({ notBeforeMs: now, notAfterMs: certificate.notAfterMs }, now, Math.random());
    log.info('certificate issued', {
      identity,
      serial: certificate.serial,
      expires: new Date(certificate.notAfterMs).toISOString(),
      renewS: Math.round(delayMs / 1000),
    });
    this.#at(now + delayMs);
    onSecret(outcome.value);
  }

  async #request(): Promise<Result<WorkloadSecret, string>> {
    const { identity, ttlS, call } = this.#options;
    try {
      const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
      const request = encode('istio.v1.auth.IstioCertificateRequest', {
        csr: certificateRequest(privateKey, identity),
        validity_duration: ttlS,
      });
      const answer = await call(CREATE_CERTIFICATE, request, CERTIFICATE_CALL_TIMEOUT_MS);
      if (!answer.ok) return err(`status ${answer.error.code}: ${answer.error.message}`);
      const chain = decode('istio.v1.auth.IstioCertificateResponse', answer.value).cert_chain ?? [];
      const checked = checkIssued(chain, privateKey, identity, Date.now());
      if (!checked.ok) return checked;
      return { ok: true, value: { certificate: checked.value, privateKeyPem: exportPem(privateKey) } };
    } catch (e) {
      return err(e instanceof Error ? e.message : String(e));
    }
  }

  /** Looks at the wall clock again at least once a minute, so a machine that slept renews at once. */
  #at(dueMs: number): void {
    if (this.#stopped) return;
    const leftMs = dueMs - Date.now();
    this.#timer = setTimeout(
      () => (dueMs <= Date.now() ? void this.#renew() : this.#at(dueMs)),
      Math.max(1, Math.min(leftMs, TIMER_MS_MAX)),
    );
  }
}

const exportPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
