// The copies of one request, one to every mirror whose share is drawn.

import type { MirrorPlan } from '../../plan/route.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Exchange } from './exchange.ts';
import type { KeptRequest } from './kept-request.ts';
import { type MirrorRequest, mirrorRequest } from './mirror.ts';

export class Mirrors {
  readonly #env: ProxyEnvironment;
  readonly #exchange: Exchange;
  readonly #facts: DownstreamFacts;
  #copies: readonly MirrorRequest[] = NONE;

  constructor(env: ProxyEnvironment, exchange: Exchange, facts: DownstreamFacts) {
    this.#env = env;
    this.#exchange = exchange;
    this.#facts = facts;
  }

  start(mirrors: readonly MirrorPlan[], timeoutMs: number, kept: KeptRequest): void {
    const exchange = this.#exchange;
    const env = this.#env;
    const copies: MirrorRequest[] = [];
    for (const mirror of mirrors) {
      if (mirror.probability < 1 && env.random() >= mirror.probability) continue;
      const name = mirror.clusterHeader !== '' ? (exchange.requestHeaders.get(mirror.clusterHeader) ?? '') : mirror.clusterName;
      const cluster = env.cluster(name);
      if (cluster === undefined) continue;
      const http2 = exchange.info.protocol === 'HTTP/2';
      const copy = mirrorRequest(env, cluster, exchange, this.#facts, mirror, exchange.requestChunked, timeoutMs, http2);
      if (copy === undefined) continue;
      for (const piece of kept.pieces) copy.body(piece);
      if (exchange.requestEnded) copy.end();
      copies.push(copy);
    }
    this.#copies = copies;
  }

  body(buf: Buffer, start: number, end: number): void {
    for (const copy of this.#copies) copy.body(buf.subarray(start, end));
  }

  end(): void {
    for (const copy of this.#copies) copy.end();
  }

  /** The request is over. */
  release(): void {
    for (const copy of this.#copies) copy.release();
    this.#copies = NONE;
  }
}

const NONE: readonly MirrorRequest[] = [];
