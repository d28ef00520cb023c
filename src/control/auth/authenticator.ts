// Tells who calls, by whichever proof the caller brings: the token of a launcher, a certificate of the mesh, a join token, a token of an
// issuer, one that Kubernetes reviews. Peers whose proofs fail are slowed down; a launcher's token, which nobody guesses, is looked up for
// everybody. Says to the peer that it is not known and not why; the log has the reason. No proof is ever in a message.
import type { X509Certificate } from 'node:crypto';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { JOIN_PREFIX } from '../../identity/join-token.ts';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import type { Refusal } from '../audit/trail.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { TokenStore } from '../token-store.ts';
import { Attempts, LOGIN_LIMIT, peerKey } from './attempts.ts';
import type { Caller } from './caller.ts';
import type { IssuerProof } from './issuer-proof.ts';
import type { JoinTokens } from './join-tokens.ts';
import { certificateCaller } from './peer-certificate.ts';
import type { TokenReviewer } from './token-review.ts';

/** What a call brings. */
export interface Credentials {
  readonly authorization: string | undefined;
  /** Checked against the mesh's roots; undefined without TLS or without one. */
  readonly certificate: X509Certificate | undefined;
  /** The peer's address; '' on a Unix socket. */
  readonly peer: string;
  /** The call is a certificate request: a join token is worth that and nothing else. */
  readonly joins: boolean;
}

export interface AuthenticatorOptions {
  readonly tokens: TokenStore;
  readonly joinTokens: JoinTokens;
  readonly issuers: readonly IssuerProof[];
  readonly reviewer: TokenReviewer | undefined;
  readonly trustDomain: () => string;
  readonly metrics: ControlMetrics;
  readonly log: Log;
  readonly now: () => number;
  /** Told of everybody whose proof does not hold. */
  readonly refused?: (refusal: Refusal) => void;
}

type Outcome = Result<Caller | undefined, GrpcStatus>;

const BEARER = /^bearer\s+(\S+)$/i;
const UNKNOWN: GrpcStatus = { code: GRPC.UNAUTHENTICATED, message: 'the workload token is not known here' };

const EARLY: GrpcStatus = { code: GRPC.UNAUTHENTICATED, message: 'a join token buys a certificate, and nothing else' };

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #attempts: Attempts;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#attempts = new Attempts(LOGIN_LIMIT, options.now);
  }

  /** `ok(undefined)`: the call brings no proof. A promise only where somebody else must be asked. */
  identify(credentials: Credentials): Outcome | Promise<Outcome> {
    const { authorization, certificate } = credentials;
    const token = authorization === undefined ? undefined : (BEARER.exec(authorization)?.[1] ?? '');
    const holder = token === undefined ? undefined : this.#options.tokens.holder(token);
    if (holder) {
      const { namespace, serviceAccount, name, address } = holder;
      return ok({ namespace, serviceAccount, name, address, proof: 'launcher token', stored: holder });
    }
    const peer = peerKey(credentials.peer);
    // Before the certificate: a spent or outworn token beside a good certificate takes nothing from it.
    if (certificate) return this.#settle(certificateCaller(certificate, this.#options.trustDomain(), this.#options.now()), peer);
    if (token === undefined) return ok(undefined);
    if (!this.#attempts.allows(peer)) {
      this.#options.metrics.count('skein_logins_limited');
      return err({ code: GRPC.RESOURCE_EXHAUSTED, message: 'too many proofs of this peer have failed: try later' });
    }
    // Who has a good one guesses nothing, and may be too early: the certificate that it buys is on the way.
    if (token.startsWith(JOIN_PREFIX) && !credentials.joins && this.#options.joinTokens.knows(token)) return err(EARLY);
    if (token.startsWith(JOIN_PREFIX)) return this.#settle(this.#join(token, credentials.joins), peer);
    const issuer = this.#options.issuers.find((i) => i.claims(token));
    const asked = issuer?.caller(token) ?? (token.includes('.') ? this.#options.reviewer?.caller(token) : undefined);
    if (!asked) return this.#settle(err('unknown token'), peer);
    return asked.then((caller) => this.#settle(caller, peer));
  }

  #join(token: string, joins: boolean): Result<Caller, string> {
    // Looked at for certificates alone, so an xDS stream that is opened with it costs it no use.
    if (!joins) return err('a join token buys a certificate, and nothing else');
    const used = this.#options.joinTokens.use(token);
    if (!used) return err('the join token is unknown, spent, expired or revoked');
    const { namespace, serviceAccount, id } = used;
    this.#options.log.info('a join token was used', { id, namespace, serviceAccount, usesLeft: used.usesLeft - 1 });
    return ok({ namespace, serviceAccount, name: '', address: '', proof: 'join token' });
  }

  #settle(caller: Result<Caller, string>, peer: string): Outcome {
    const { metrics, log } = this.#options;
    if (caller.ok) {
      metrics.count('skein_logins', { proof: caller.value.proof.replaceAll(' ', '_') });
      return caller;
    }
    this.#attempts.take(peer);
    metrics.count('skein_logins_refused');
    log.warning('a caller was refused', { peer, problem: caller.error });
    this.#options.refused?.({ door: 'xds', who: peer, reason: caller.error });
    return err(UNKNOWN);
  }
}
