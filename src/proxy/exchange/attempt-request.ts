// The request's side of an attempt: its body and trailers go to the connection there is, are kept as long as they may have to be sent again,
// and to the mirrors. Pauses the client where the other side does not keep up. Never picks a host and never answers.

import type { MirrorPlan } from '../../plan/route.ts';
import type { ClusterStats } from '../cluster/cluster-stats.ts';
import type { RetryBudget } from '../cluster/retry-budget.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { UpstreamStream } from '../upstream/upstream-stream.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import type { Exchange } from './exchange.ts';
import { KeptRequest } from './kept-request.ts';
import { Mirrors } from './mirrors.ts';

export class AttemptRequest {
  /** What has come of the body and is not sent, or may be sent again. */
  readonly kept = new KeptRequest();
  readonly #env: ProxyEnvironment;
  readonly #down: DownstreamStream;
  readonly #exchange: Exchange;
  readonly #mirrors: Mirrors;

  constructor(env: ProxyEnvironment, down: DownstreamStream, exchange: Exchange, facts: DownstreamFacts) {
    this.#env = env;
    this.#down = down;
    this.#exchange = exchange;
    this.#mirrors = new Mirrors(env, exchange, facts);
  }

  /** The exchange is over. */
  release(): void {
    this.#mirrors.release();
  }

  /** The first attempt begins. `needsBody`: others may have to be sent the body as well. */
  begin(budget: RetryBudget, stats: ClusterStats, needsBody: boolean): void {
    const kept = this.kept;
    // A filter has waited for more of the body than may be sent again.
    if (kept.bytes > 0 && kept.bytes > this.#exchange.bodyBytesMax) budget.abandon(stats);
    kept.keep = budget.left > 0 || needsBody;
  }

  mirror(mirrors: readonly MirrorPlan[], timeoutMs: number): void {
    this.#mirrors.start(mirrors, timeoutMs, this.kept);
  }

  /** Head, what came of the body, and the end if it has come. */
  forward(connection: UpstreamStream): void {
    const exchange = this.#exchange;
    const info = exchange.info;
    const kept = this.kept;
    info.firstUpstreamTxByte = this.#env.clock.wallMs();
    const ended = exchange.requestEnded && kept.empty;
    info.upstreamHeaderBytesSent = connection.writeRequest(exchange, exchange.upgrade, exchange.requestChunked, ended);
    if (!kept.sendTo(connection)) this.#down.pauseReading();
    if (exchange.requestEnded) this.#finish(connection);
    else {
      this.#down.resumeReading();
      if (!this.#down.reading) connection.flush();
    }
  }

  /** `waits`: an attempt was made and another one waits for its time. False: that cannot be, more has come than may be kept. */
  body(
    connection: UpstreamStream | undefined,
    waits: boolean,
    budget: RetryBudget,
    stats: ClusterStats | undefined,
    buf: Buffer,
    start: number,
    end: number,
  ): boolean {
    const kept = this.kept;
    this.#mirrors.body(buf, start, end);
    if (connection !== undefined) {
      if (!connection.writeBody(buf, start, end)) this.#down.pauseReading();
      if (!kept.keep) return true;
    }
    kept.bytes += end - start;
    const fits = kept.bytes <= this.#exchange.bodyBytesMax;
    if (!fits && kept.keep) budget.abandon(stats);
    if (!fits && connection !== undefined) kept.drop();
    else if (!fits && kept.keep && waits) return false;
    else {
      if (!fits) {
        kept.keep = false;
        this.#down.pauseReading();
      }
      kept.add(buf, start, end);
    }
    return true;
  }

  end(connection: UpstreamStream | undefined): void {
    this.#mirrors.end();
    if (connection !== undefined) this.#finish(connection);
  }

  #finish(connection: UpstreamStream): void {
    connection.endRequest(this.kept.trailers);
    this.#exchange.info.lastUpstreamTxByte = this.#env.clock.wallMs();
  }
}
