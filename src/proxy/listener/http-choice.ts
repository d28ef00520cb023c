// A client's connection on which either HTTP may be spoken: waits for the first bytes and hands over to who reads them. Only
// HTTP/2's preface tells; everything else is HTTP/1's to answer.

import type { BlockList, Socket } from 'node:net';
import { startsWithPreface } from '../../wire/http-sniff.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { DownstreamHttp1 } from '../downstream/downstream-http1.ts';
import { DownstreamHttp2 } from '../downstream/downstream-http2.ts';
import type { HcmPlan } from '../exchange/hcm-plan.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { WheelTimer } from '../timer-wheel.ts';

/** A connection that serves requests. */
export interface HttpConnection {
  start(first: Buffer | undefined): void;
  drain(): void;
  destroy(): void;
  /** Requests are under way. */
  readonly busy: boolean;
}

/** What serves a client's connection: known by the configuration or the handshake, else by its first bytes. */
export const serveHttp = (
  env: ProxyEnvironment,
  plan: HcmPlan,
  internalRanges: BlockList | undefined,
  socket: Socket,
  facts: DownstreamFacts,
  ended: () => void,
): HttpConnection => {
  const alpn = facts.tls?.alpn ?? '';
  if (plan.codec === 'HTTP2' || (plan.codec === 'AUTO' && alpn === 'h2'))
    return new DownstreamHttp2(env, plan, internalRanges, socket, facts, ended);
  if (plan.codec === 'HTTP1' || alpn.startsWith('http/')) return new DownstreamHttp1(env, plan, internalRanges, socket, facts, ended);
  return new HttpChoice(env, plan, internalRanges, socket, facts, ended);
};

class HttpChoice implements HttpConnection {
  readonly #socket: Socket;
  readonly #wheel: ProxyEnvironment['wheel'];
  readonly #idle: WheelTimer;
  readonly #ended: () => void;
  readonly #make: (http2: boolean) => HttpConnection;
  #bytes: Buffer | undefined;
  #chosen: HttpConnection | undefined;
  #draining = false;

  constructor(
    env: ProxyEnvironment,
    plan: HcmPlan,
    internalRanges: BlockList | undefined,
    socket: Socket,
    facts: DownstreamFacts,
    ended: () => void,
  ) {
    this.#socket = socket;
    this.#wheel = env.wheel;
    this.#ended = ended;
    this.#idle = new WheelTimer(this, 0);
    this.#make = (http2) =>
      http2
        ? new DownstreamHttp2(env, plan, internalRanges, socket, facts, ended)
        : new DownstreamHttp1(env, plan, internalRanges, socket, facts, ended);
    if (plan.idleTimeoutMs > 0) this.#wheel.arm(this.#idle, plan.idleTimeoutMs);
  }

  start(first: Buffer | undefined): void {
    if (first !== undefined && first.length > 0 && this.#tells(first)) return;
    this.#socket.on('data', this.#onData);
    this.#socket.on('end', this.#onEnd);
    this.#socket.on('close', this.#onClose);
    this.#socket.resume();
  }

  drain(): void {
    this.#draining = true;
    this.#chosen?.drain();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  get busy(): boolean {
    return this.#chosen?.busy === true;
  }

  onTimer(): void {
    this.#socket.destroy();
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#tells(bytes);
  };

  readonly #onEnd = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#wheel.drop(this.#idle);
    this.#ended();
  };

  /** True: enough was seen, the connection is in other hands. */
  #tells(more: Buffer): boolean {
    const bytes = this.#bytes === undefined ? more : Buffer.concat([this.#bytes, more]);
    this.#bytes = bytes;
    const preface = startsWithPreface(bytes);
    if (preface === 'need-more') return false;
    this.#choose(preface === 'yes');
    return true;
  }

  #choose(http2: boolean): void {
    this.#wheel.drop(this.#idle);
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onClose);
    const chosen = this.#make(http2);
    this.#chosen = chosen;
    const first = this.#bytes;
    this.#bytes = undefined;
    if (this.#draining) chosen.drain();
    chosen.start(first);
  }
}
