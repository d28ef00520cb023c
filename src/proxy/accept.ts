// What happens to a fresh connection until its filter chain is known: original destination, hand-over to a virtual listener, a
// bounded look at the first bytes, TLS. One object per connection, gone once the chain has taken over.

import type { Socket } from 'node:net';
import { matchFilterChain, needsHttpInspector, needsTlsInspector } from '../plan/filter-chain.ts';
import { FLAG } from '../plan/response-flag.ts';
import { StreamInfo } from '../plan/stream-info.ts';
import { sniffHttp } from '../wire/http-sniff.ts';
import { inspectClientHello } from '../wire/tls-hello.ts';
import { addressText, type DownstreamFacts, describeConnection, plainIp } from './connection-facts.ts';
import { DownstreamHttp1 } from './downstream-http1.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';
import { PEEK_BYTES_MAX } from './limits.ts';
import type { ListenerState } from './listener-runtime.ts';
import type { Destination } from './original-destination.ts';
import type { ProxyEnvironment } from './proxy-environment.ts';
import { TcpTunnel } from './tcp-proxy.ts';
import { WheelTimer } from './timer-wheel.ts';

/** A connection that a chain serves. */
export interface ServedConnection {
  drain?(): void;
  destroy(): void;
}

export interface ConnectionOwner {
  opened(connection: ServedConnection, state: ListenerState): void;
  closed(connection: ServedConnection): void;
}

export class Acceptance {
  readonly #env: ProxyEnvironment;
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  readonly #state: ListenerState;
  readonly #facts: DownstreamFacts;
  readonly #timer: WheelTimer;
  #bytes: Buffer | undefined;
  #wantsTls = false;
  #wantsHttp = false;
  #transport: 'tls' | 'raw_buffer' = 'raw_buffer';
  #over = false;

  constructor(
    env: ProxyEnvironment,
    owner: ConnectionOwner,
    state: ListenerState,
    socket: Socket,
    id: number,
    destination: Destination | undefined,
  ) {
    this.#env = env;
    this.#owner = owner;
    this.#socket = socket;
    this.#state = state;
    this.#timer = new WheelTimer(this, 0);
    const localIp = plainIp(socket.localAddress);
    this.#facts = {
      id,
      remoteIp: plainIp(socket.remoteAddress),
      remotePort: socket.remotePort ?? 0,
      localIp: destination?.ip ?? localIp,
      localPort: destination?.port ?? socket.localPort ?? 0,
      directLocal: addressText(localIp, socket.localPort ?? 0),
      originalDestination: destination,
      listenerName: state.config.name ?? '',
      listenerMetadata: state.config.metadata,
      listenerContext: state.context,
      filterChainName: '',
      sni: '',
      alpn: [],
      tls: undefined,
      localUri: '',
      startMs: env.clock.wallMs(),
    };
  }

  start(): void {
    const port = this.#facts.localPort;
    if (this.#state.inspects) {
      this.#wantsTls = needsTlsInspector(this.#state.config, port);
      this.#wantsHttp = needsHttpInspector(this.#state.config, port);
    }
    if (!this.#wantsTls && !this.#wantsHttp) {
      this.#choose();
      return;
    }
    const socket = this.#socket;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
    if (this.#state.filtersTimeoutMs > 0) this.#env.wheel.arm(this.#timer, this.#state.filtersTimeoutMs);
  }

  onTimer(): void {
    if (this.#over) return;
    if (this.#state.continueOnTimeout) this.#choose();
    else this.#fail('listener_filters_timeout');
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#bytes = this.#bytes === undefined ? bytes : Buffer.concat([this.#bytes, bytes]);
    try {
      if (this.#look(this.#bytes)) this.#choose();
    } catch (problem) {
      // A broken invariant of ours costs this connection, never the process.
      this.#env.log.error('connection given up', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
      this.#socket.destroy();
    }
  };

  // A client that leaves or ends its side before it can be told apart.
  readonly #onEnd = (): void => this.#fail('');

  /** True: enough was seen. */
  #look(bytes: Buffer): boolean {
    const full = bytes.length >= PEEK_BYTES_MAX;
    if (this.#wantsTls) {
      const hello = inspectClientHello(bytes);
      if (hello.kind === 'need-more') {
        if (!full) return false;
      } else if (hello.kind === 'tls') {
        this.#transport = 'tls';
        this.#facts.sni = hello.sni ?? '';
        this.#facts.alpn = hello.alpn;
        return true;
      }
      this.#wantsTls = false;
    }
    if (!this.#wantsHttp) return true;
    const protocol = sniffHttp(bytes);
    if (protocol === 'need-more') return full;
    if (protocol !== 'none') this.#facts.alpn = [protocol];
    return true;
  }

  #stopLooking(): void {
    this.#env.wheel.disarm(this.#timer);
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onEnd);
  }

  #choose(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopLooking();
    const facts = this.#facts;
    const index = matchFilterChain(this.#state.plan, {
      destinationIp: facts.localIp,
      destinationPort: facts.localPort,
      sourceIp: facts.remoteIp,
      sourcePort: facts.remotePort,
      directSourceIp: facts.remoteIp,
      transportProtocol: this.#transport,
      sni: facts.sni,
      alpn: facts.alpn,
    });
    const chain = index >= 0 ? this.#state.chains[index] : index === -1 ? this.#state.defaultChain : undefined;
    if (chain === undefined) {
      this.#over = false;
      this.#fail('filter_chain_not_found', true);
      return;
    }
    facts.filterChainName = chain.name;
    if (chain.tls === undefined) this.#serve(chain, this.#socket, this.#bytes);
    else this.#handshake(chain);
  }

  #handshake(chain: ChainRuntime): void {
    const looked = this.#bytes;
    const begin = (first: Buffer | undefined): void => {
      const facts = this.#facts;
      chain.tls?.accept(this.#socket, first, facts.alpn, facts.sni, (result) => {
        if (!result.ok) {
          this.#over = false;
          this.#fail('', false, result.reason);
          return;
        }
        facts.tls = result.facts;
        facts.localUri = result.localUri;
        if (facts.sni === '' && typeof result.socket.servername === 'string') facts.sni = result.socket.servername;
        this.#serve(chain, result.socket, undefined);
      });
    };
    // Which ALPN to answer with is decided from the hello, so it is looked at even without a tls_inspector.
    if (this.#transport === 'tls') begin(looked);
    else this.#readHello(begin);
  }

  #readHello(begin: (first: Buffer) => void): void {
    let bytes = this.#bytes ?? Buffer.alloc(0);
    const decide = (): boolean => {
      const hello = inspectClientHello(bytes);
      if (hello.kind === 'need-more' && bytes.length < PEEK_BYTES_MAX) return false;
      if (hello.kind === 'tls') {
        this.#facts.alpn = hello.alpn;
        this.#facts.sni = hello.sni ?? '';
      }
      return true;
    };
    const socket = this.#socket;
    const timer = new WheelTimer({ onTimer: () => socket.destroy() }, 0);
    const onData = (more: Buffer): void => {
      bytes = Buffer.concat([bytes, more]);
      if (!decide()) return;
      socket.off('data', onData);
      socket.off('end', onEnd);
      this.#env.wheel.disarm(timer);
      begin(bytes);
    };
    const onEnd = (): void => {
      this.#env.wheel.disarm(timer);
      socket.destroy();
    };
    if (bytes.length > 0 && decide()) {
      begin(bytes);
      return;
    }
    this.#env.wheel.arm(timer, this.#state.filtersTimeoutMs > 0 ? this.#state.filtersTimeoutMs : 15_000);
    socket.on('data', onData);
    socket.on('end', onEnd);
  }

  #serve(chain: ChainRuntime, socket: Socket, first: Buffer | undefined): void {
    const facts = this.#facts;
    const state = this.#state;
    let served: ServedConnection | undefined;
    const ended = (): void => {
      if (served === undefined) return;
      this.#owner.closed(served);
      const info = new StreamInfo();
      describeConnection(info, facts);
      info.startTime = facts.startMs;
      info.endTime = this.#env.clock.wallMs();
      this.#env.observer.connectionClosed(info, state.context);
      served = undefined;
    };
    if (socket.destroyed) return;
    if (chain.terminal.kind === 'http') {
      const connection = new DownstreamHttp1(this.#env, chain.terminal.plan, chain.terminal.internalRanges, socket, facts, ended);
      served = connection;
      this.#owner.opened(connection, state);
      connection.start(first);
    } else {
      const tunnel = new TcpTunnel(this.#env, chain.terminal.plan, socket, facts, first, ended);
      served = tunnel;
      this.#owner.opened(tunnel, state);
      tunnel.start();
    }
  }

  #fail(details: string, noChain = false, transport = ''): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopLooking();
    const info = new StreamInfo();
    describeConnection(info, this.#facts);
    info.startTime = this.#facts.startMs;
    info.endTime = this.#env.clock.wallMs();
    info.responseCodeDetails = details;
    info.downstreamTransportFailureReason = transport;
    if (noChain) info.setFlag(FLAG.NR);
    this.#env.observer.connectionClosed(info, this.#state.context);
    if (noChain) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }
}
