// Attempts that took longer than their time while a route hedges: each may still answer, beside those that came after it. It keeps
// them and passes on what becomes of them; which one wins is its owner's to decide.

import type { ClusterRuntime } from '../cluster/cluster-runtime.ts';
import type { Host } from '../cluster/host.ts';
import type { ResponseHead, UpstreamClient, UpstreamStream } from '../upstream/upstream-stream.ts';

export interface HedgingAttempts {
  /** An attempt after those that are kept here runs or waits for its time. */
  readonly newestRuns: boolean;
  /** A response that another attempt may do better than. */
  isRetriable(head: ResponseHead): boolean;
  hedgeWon(host: Host, connection: UpstreamStream, head: ResponseHead): void;
  /** The last one of all was lost. */
  hedgesLost(): void;
}

export class SlowAttempts {
  readonly #owner: HedgingAttempts;
  #running: SlowAttempt[] = [];

  constructor(owner: HedgingAttempts) {
    this.#owner = owner;
  }

  get any(): boolean {
    return this.#running.length > 0;
  }

  /** The attempt's request has been sent whole. */
  add(host: Host, connection: UpstreamStream, cluster: ClusterRuntime | undefined): void {
    const slow = new SlowAttempt(this, host, connection, cluster);
    this.#running.push(slow);
    connection.handOver(slow);
  }

  answered(slow: SlowAttempt, head: ResponseHead): void {
    if (!this.#remove(slow)) return;
    slow.cluster?.responded(slow.host, head.statusCode, head.statusCode);
    if ((this.any || this.#owner.newestRuns) && this.#owner.isRetriable(head)) slow.connection.abandon();
    else this.#owner.hedgeWon(slow.host, slow.connection, head);
  }

  lost(slow: SlowAttempt): void {
    if (!this.#remove(slow)) return;
    slow.cluster?.failed(slow.host, 'reset');
    if (!this.any && !this.#owner.newestRuns) this.#owner.hedgesLost();
  }

  release(): void {
    const running = this.#running;
    this.#running = [];
    for (const slow of running) slow.connection.abandon();
  }

  /** False: nobody waits for it any more. */
  #remove(slow: SlowAttempt): boolean {
    const before = this.#running.length;
    this.#running = this.#running.filter((other) => other !== slow);
    return this.#running.length < before;
  }
}

class SlowAttempt implements UpstreamClient {
  readonly #all: SlowAttempts;
  readonly host: Host;
  readonly connection: UpstreamStream;
  readonly cluster: ClusterRuntime | undefined;

  constructor(all: SlowAttempts, host: Host, connection: UpstreamStream, cluster: ClusterRuntime | undefined) {
    this.#all = all;
    this.host = host;
    this.connection = connection;
    this.cluster = cluster;
  }

  onHead(head: ResponseHead): void {
    this.#all.answered(this, head);
  }
  onReset(): void {
    this.#all.lost(this);
  }
  onReady(): void {}
  onConnectFailure(): void {}
  onHostGone(): void {}
  onInformational(): void {}
  onBody(): void {}
  onTrailers(): void {}
  onEnd(): void {}
  onFlush(): void {}
  onSettled(): void {}
  onDrain(): void {}
  onTunnelData(): void {}
  onTunnelEnd(): void {}
}
