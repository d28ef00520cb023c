// What happens to a fresh connection until its filter chain is known: original destination, hand-over to a virtual listener, a
// bounded look at the first bytes, TLS. One object per connection, gone once the chain has taken over.

import type { Socket } from 'node:net';
import { matchFilterChain, needsHttpInspector, needsTlsInspector } from '../../plan/filter-chain.ts';
import { FLAG } from '../../plan/response-flag.ts';
import { type CertificateFacts, StreamInfo } from '../../plan/stream-info.ts';
import { sniffHttp } from '../../wire/http-sniff.ts';
import { inspectClientHello } from '../../wire/tls-hello.ts';
import { acceptedFacts, addressText, type DownstreamFacts, describeConnection, plainIp } from '../connection-facts.ts';
import { admit, decideLater, type Refusal, release } from '../filters/network-filter.ts';
import { FLUSH_CHECK_MS, PEEK_BYTES_MAX } from '../limits.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { closeSoon } from '../sockets/socket-linger.ts';
import { limitUnsent } from '../sockets/unsent-limit.ts';
import type { TcpPlan } from '../tcp/tcp-plan.ts';
import { TcpTunnel } from '../tcp/tcp-proxy.ts';
import { TcpUpstream, type UpstreamOwner } from '../tcp/tcp-upstream.ts';
import { WheelTimer } from '../timer-wheel.ts';
import { PEER_EXCHANGE_ALPN, PeerReader } from '../transport/peer-exchange.ts';
import { EarlyDial, type EarlyDialOwner } from './early-dial.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';
import { serveHttp } from './http-choice.ts';
import type { ListenerState } from './listener-runtime.ts';
import type { Destination } from './original-destination.ts';
import type { ProxyProtocolFilter } from './proxy-protocol.ts';
import type { SilentConnection } from './server-first.ts';

/** A connection that a chain serves. */
export interface ServedConnection {
  drain?(): void;
  destroy(): void;
}

export interface ConnectionOwner {
  /** `peer`: the certificate that the client has shown. */
  opened(connection: ServedConnection, state: ListenerState, chain: ChainRuntime, peer: CertificateFacts | undefined): void;
  closed(connection: ServedConnection): void;
}

export class Acceptance implements SilentConnection, EarlyDialOwner {
  readonly #env: ProxyEnvironment;
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  readonly #state: ListenerState;
  readonly #facts: DownstreamFacts;
  readonly #timer: WheelTimer;
  /** A PROXY protocol header is still to be read. */
  #proxied: ProxyProtocolFilter | undefined;
  #bytes: Buffer | undefined;
  #reading = false;
  #wantsTls = false;
  #wantsHttp = false;
  #transport: 'tls' | 'raw_buffer' = 'raw_buffer';
  #dial: EarlyDial | undefined;
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
    this.#proxied = state.proxyProtocol;
    const localIp = plainIp(socket.localAddress);
    this.#facts = acceptedFacts({
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
      startMs: env.clock.wallMs(),
    });
  }

  start(): void {
    if (this.#proxied === undefined) this.#inspect();
    else this.#read();
  }

  onTimer(): void {
    if (this.#over) return;
    this.#state.count('downstream_pre_cx_timeout');
    if (this.#state.continueOnTimeout && this.#proxied === undefined) this.#choose();
    else this.#fail('listener_filters_timeout', false, '', this.#bytes !== undefined);
  }

  // Whether first bytes matter depends on where the connection goes.
  #inspect(): void {
    const port = this.#facts.localPort;
    if (this.#state.inspects) {
      this.#wantsTls = needsTlsInspector(this.#state.config, port);
      this.#wantsHttp = needsHttpInspector(this.#state.config, port);
    }
    if ((!this.#wantsTls && !this.#wantsHttp) || (this.#bytes !== undefined && this.#look(this.#bytes))) {
      this.#choose();
      return;
    }
    this.#read();
    const { serverFirst } = this.#env;
    // Where a client may also begin TLS with us it gets the time to.
    if (serverFirst.knows(this.#port) && !this.#state.endsTls) this.onSilence();
    else serverFirst.watch(this, this.#port);
  }

  #read(): void {
    if (this.#reading) return;
    this.#reading = true;
    const socket = this.#socket;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
    if (this.#state.filtersTimeoutMs > 0) this.#env.wheel.arm(this.#timer, this.#state.filtersTimeoutMs);
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#bytes = this.#bytes === undefined ? bytes : Buffer.concat([this.#bytes, bytes]);
    try {
      if (this.#proxied !== undefined) this.#readProxyHeader(this.#proxied, this.#bytes);
      else if (this.#look(this.#bytes)) this.#choose();
    } catch (problem) {
      // A broken invariant of ours costs this connection, never the process.
      this.#env.log.error('connection given up', { problem: problem instanceof Error ? (problem.stack ?? problem.message) : 'unknown' });
      this.#socket.destroy();
    }
  };

  // A client that leaves or ends its side before it can be told apart.
  readonly #onEnd = (): void => {
    this.#state.count('downstream_listener_filter_remote_close');
    this.#fail('');
  };

  #readProxyHeader(filter: ProxyProtocolFilter, bytes: Buffer): void {
    const read = filter.read(bytes, this.#facts);
    if (read === 'more') return;
    if (read === 'close') {
      this.#fail('', false, '', true);
      return;
    }
    this.#proxied = undefined;
    this.#bytes = bytes.length > read ? bytes.subarray(read) : undefined;
    this.#inspect();
  }

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
    if (protocol !== 'none') {
      this.#facts.alpn = [protocol];
      this.#env.serverFirst.learn(this.#port, 'client');
    }
    return true;
  }

  #stopLooking(): void {
    this.#env.wheel.drop(this.#timer);
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onEnd);
  }

  // --- a client that says nothing ---

  get #port(): string {
    this.#facts.localText ??= addressText(this.#facts.localIp, this.#facts.localPort);
    return this.#facts.localText;
  }

  onSilence(): void {
    if (this.#over || this.#dial !== undefined || this.#env.draining || this.#socket.destroyed) return;
    const chain = this.#match();
    // Where a silent client would get TLS or HTTP, or nothing, its server has nothing to say first.
    if (chain === undefined || chain.tls !== undefined || chain.terminal.kind !== 'tcp') return;
    this.#dial = EarlyDial.begin(this.#env, chain, chain.terminal.plan, this.#facts, this);
    this.#dial?.start();
  }

  onServerSpoke(): void {
    if (this.#over) return;
    this.#env.serverFirst.serverSpoke.value++;
    this.#env.serverFirst.learn(this.#port, 'server');
    // What the client may have begun to say is not enough to be anything else, and now it is an answer.
    this.#facts.alpn = [];
    this.#choose(this.#dial?.chain);
  }

  onDialOver(): void {
    const chain = this.#dial?.chain;
    this.#dial = undefined;
    // Clients of a port whose servers speak first would wait for ever; elsewhere the client's first bytes get their answer.
    if (chain !== undefined && !this.#over && this.#bytes === undefined && this.#env.serverFirst.knows(this.#port)) this.#choose(chain);
  }

  #match(): ChainRuntime | undefined {
    const facts = this.#facts;
    const index = matchFilterChain(this.#state.plan, {
      destinationIp: facts.localIp,
      destinationPort: facts.localPort,
      sourceIp: facts.remoteIp,
      sourcePort: facts.remotePort,
      directSourceIp: facts.directRemote?.ip ?? facts.remoteIp,
      transportProtocol: this.#transport,
      sni: facts.sni,
      alpn: facts.alpn,
    });
    return index >= 0 ? this.#state.chains[index] : index === -1 ? this.#state.defaultChain : undefined;
  }

  #choose(decided?: ChainRuntime): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopLooking();
    const facts = this.#facts;
    const chain = decided ?? this.#match();
    let dial = this.#dial;
    this.#dial = undefined;
    if (dial !== undefined && decided === undefined) this.#env.serverFirst.clientSpoke.value++;
    if (dial !== undefined && chain !== dial.chain) {
      dial.drop();
      dial = undefined;
    }
    if (chain === undefined) {
      this.#over = false;
      this.#fail('filter_chain_not_found', true);
      return;
    }
    facts.filterChainName = chain.name;
    if (chain.tls === undefined) this.#serve(chain, this.#socket, this.#bytes, dial);
    else this.#handshake(chain);
  }

  #handshake(chain: ChainRuntime): void {
    const looked = this.#bytes;
    const begin = (first: Buffer | undefined): void => {
      const facts = this.#facts;
      chain.tls?.accept(this.#socket, first, facts.alpn, facts.sni, (result) => {
        if (!result.ok) {
          this.#over = false;
          this.#fail('', false, result.reason, false, result.late);
          return;
        }
        if (this.#wantsTls) this.#env.serverFirst.learn(this.#port, 'tls');
        facts.tls = result.facts;
        facts.localUri = result.localUri;
        if (facts.sni === '' && typeof result.socket.servername === 'string') facts.sni = result.socket.servername;
        this.#serve(chain, result.socket, undefined);
      });
    };
    // Which ALPN to answer with is decided from the hello, so it is looked at even without a tls_inspector.
    if (this.#transport === 'tls' || chain.tls?.readsHello !== true) begin(looked);
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
      stop();
      begin(bytes);
    };
    const stop = (): void => {
      this.#env.wheel.drop(timer);
      socket.off('data', onData);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
    };
    const onEnd = (): void => {
      stop();
      this.#over = false;
      this.#fail('', false, 'connection closed during TLS handshake');
    };
    if (bytes.length > 0 && decide()) {
      begin(bytes);
      return;
    }
    this.#env.wheel.arm(timer, this.#state.filtersTimeoutMs > 0 ? this.#state.filtersTimeoutMs : 15_000);
    socket.on('data', onData);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
  }

  /** `from`: the network filters before it have let the connection in. */
  #serve(chain: ChainRuntime, socket: Socket, first: Buffer | undefined, dial?: EarlyDial, from = 0): void {
    const facts = this.#facts;
    const state = this.#state;
    if (socket.destroyed) {
      dial?.drop();
      return;
    }
    // Who was dialled for has been let in already.
    const refusal = dial === undefined && chain.networkFilters.length > from ? admit(chain.networkFilters, facts, from) : undefined;
    if (typeof refusal === 'number') {
      // Its bytes wait with it.
      socket.pause();
      decideLater(chain.networkFilters, refusal, facts, socket, (later) => {
        if (later === undefined) {
          socket.resume();
          this.#serve(chain, socket, first, undefined, refusal + 1);
        } else this.#refuse(chain, socket, later);
      });
      return;
    }
    if (refusal !== undefined) {
      this.#refuse(chain, socket, refusal);
      return;
    }
    limitUnsent(socket, state.unsentBytes);
    let served: ServedConnection | undefined;
    const ended = (told?: StreamInfo): void => {
      if (served === undefined) return;
      this.#owner.closed(served);
      served = undefined;
      release(chain.networkFilters, facts);
      const info = told ?? this.#describe();
      info.endTime = this.#env.clock.wallMs();
      this.#env.observer.connectionClosed(info, state.context);
    };
    const { terminal, ledger } = chain;
    if (ledger !== undefined) facts.live = ledger.opened(socket, facts.startMs, chain.tls !== undefined, terminal.kind === 'tcp');
    if (terminal.kind === 'http') {
      const connection = serveHttp(this.#env, terminal.plan, terminal.internalRanges, socket, facts, ended);
      served = connection;
      this.#owner.opened(connection, state, chain, facts.tls?.peer);
      // Before the connection's own answer to it, which ends its requests.
      socket.prependOnceListener('close', () => ledger?.closed(socket, this.#env.clock.wallMs(), connection.busy));
      connection.start(first);
    } else if (terminal.kind === 'tcp') {
      const tunnel = new TcpTunnel(this.#env, socket, dial?.upstream ?? this.#upstream(terminal.plan), ended);
      served = tunnel;
      socket.prependOnceListener('close', () => ledger?.closed(socket, this.#env.clock.wallMs(), true));
      if (dial !== undefined) describeConnection(dial.upstream.info, facts);
      if (dial !== undefined) dial.upstream.info.startTime = facts.startMs;
      this.#owner.opened(tunnel, state, chain, facts.tls?.peer);
      const { peerExchange } = this.#env;
      const exchanges = peerExchange !== undefined && facts.tls?.alpn === PEER_EXCHANGE_ALPN;
      if (exchanges) socket.write(peerExchange.frame);
      tunnel.start(first, dial?.greeting, exchanges ? new PeerReader(peerExchange) : undefined);
    } else {
      const info = this.#describe();
      info.responseCodeDetails = 'direct_response';
      info.bytesSent = terminal.response.length;
      served = { destroy: () => socket.destroy() };
      this.#owner.opened(served, state, chain, facts.tls?.peer);
      socket.write(terminal.response);
      closeSoon(this.#env.wheel, socket, FLUSH_CHECK_MS);
      ended(info);
    }
  }

  #upstream(plan: TcpPlan): TcpUpstream {
    return new TcpUpstream(this.#env, plan, this.#facts, this.#describe(), NOBODY);
  }

  #describe(): StreamInfo {
    const info = new StreamInfo(PROCESS_FACTS);
    describeConnection(info, this.#facts);
    info.startTime = this.#facts.startMs;
    return info;
  }

  // A network filter turned the connection down: closed, perhaps after a while.
  #refuse(chain: ChainRuntime, socket: Socket, refusal: Refusal): void {
    let over = false;
    const close = (): void => {
      if (over) return;
      over = true;
      this.#env.wheel.drop(timer);
      closeSoon(this.#env.wheel, socket, FLUSH_CHECK_MS);
      const info = this.#describe();
      info.endTime = this.#env.clock.wallMs();
      info.downstreamLocalCloseReason = refusal.reason;
      info.connectionTerminationDetails = refusal.details;
      if (refusal.flag !== undefined) info.setFlag(refusal.flag);
      info.responseCodeDetails = refusal.responseDetails ?? '';
      this.#env.observer.connectionClosed(info, this.#state.context);
      if (chain.terminal.kind !== 'tcp') return;
      // As in Envoy's log, where the cluster is chosen before a filter decides. Here nothing was dialled.
      const { name } = chain.terminal.plan.chooseCluster(this.#env.random);
      info.upstreamClusterRaw = name;
      info.upstreamCluster = this.#env.cluster(name)?.statName ?? name;
      info.accessLogType = 'TcpConnectionEnd';
      this.#env.observer.tcpLog(info, chain.terminal.plan.context);
    };
    const timer = new WheelTimer({ onTimer: close }, 0);
    socket.once('close', close);
    if (refusal.delayMs > 0) this.#env.wheel.arm(timer, refusal.delayMs);
    else close();
  }

  #fail(details: string, noChain = false, transport = '', reset = noChain, late = false): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopLooking();
    this.#dial?.drop();
    this.#dial = undefined;
    const info = this.#describe();
    info.endTime = this.#env.clock.wallMs();
    info.responseCodeDetails = details;
    info.downstreamTransportFailureReason = transport;
    if (late) {
      this.#state.count('downstream_cx_transport_socket_connect_timeout');
      info.connectionTerminationDetails = 'transport socket timeout was reached';
      info.downstreamLocalCloseReason = 'transport_socket_timeout';
    }
    if (noChain) {
      this.#state.count('no_filter_chain_match');
      info.setFlag(FLAG.NR);
    }
    this.#env.observer.connectionClosed(info, this.#state.context);
    if (reset) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }
}

/** Of an upstream not begun: its tunnel takes it over before. */
const NOBODY: UpstreamOwner = {
  onUpstreamConnected: () => {},
  onUpstreamFailed: () => {},
  onUpstreamData: () => {},
  onUpstreamEnd: () => {},
  onUpstreamDrain: () => {},
  onUpstreamClosed: () => {},
};
