// What connections of one kind have come to, under Envoy's names: how many of each protocol, who ended them, how long they took and were, and
// what went over them. Counted when a connection begins and ends; what the open ones have carried is asked of their sockets when somebody
// looks. Tells nothing of a kind that has never had a connection.
import type { Socket } from 'node:net';
import type { HistogramStat, StatKind, StatsStore } from './stats-store.ts';

/** Whose connections they are: Envoy tells other things of each, and some under other names. */
export type LedgerKind = 'upstream' | 'http' | 'tcp';

export type Spoken = 'http1' | 'http2';

export class LiveConnection {
  readonly ledger: ConnectionLedger;
  readonly socket: Socket;
  readonly sinceMs: number;
  readonly tls: boolean;
  /** Undefined until its first bytes have told. */
  spoken: Spoken | undefined;
  /** The peer has ended it, or it broke. */
  remote = false;

  constructor(ledger: ConnectionLedger, socket: Socket, sinceMs: number, tls: boolean, halfCloses: boolean) {
    this.ledger = ledger;
    this.socket = socket;
    this.sinceMs = sinceMs;
    this.tls = tls;
    const gone = (): void => {
      this.remote = true;
    };
    // Before those who answer to it by closing. A tunnel goes on when one side has ended.
    if (!halfCloses) socket.prependOnceListener('end', gone);
    socket.prependOnceListener('error', gone);
  }

  speaks(spoken: Spoken): void {
    if (this.spoken !== undefined) return;
    this.spoken = spoken;
    if (spoken === 'http1') this.ledger.http1++;
    else this.ledger.http2++;
  }
}

export class ConnectionLedger {
  http1 = 0;
  http2 = 0;
  idleTimeouts = 0;
  /** They had served as many requests as one may. */
  maxRequests = 0;
  maxDurations = 0;
  protocolErrors = 0;
  /** undefined: the store has let go of it, while connections go on. */
  #store: StatsStore | undefined;
  readonly #prefix: string;
  readonly #kind: LedgerKind;
  readonly #live = new Map<Socket, LiveConnection>();
  #used = false;
  #begun = 0;
  #tls = 0;
  #local = 0;
  #remote = 0;
  #localActive = 0;
  #remoteActive = 0;
  #received = 0;
  #sent = 0;
  #length: HistogramStat | undefined;
  #connect: HistogramStat | undefined;

  constructor(store: StatsStore, prefix: string, kind: LedgerKind) {
    this.#store = store;
    this.#prefix = prefix;
    this.#kind = kind;
  }

  /** `sinceMs`: when it began, on the clock that `closed` is told. */
  opened(socket: Socket, sinceMs: number, tls = false, halfCloses = false): LiveConnection {
    const live = new LiveConnection(this, socket, sinceMs, tls, halfCloses);
    this.#live.set(socket, live);
    this.#used = true;
    this.#begun++;
    if (tls) this.#tls++;
    return live;
  }

  /** It took so long until it stood. */
  connected(ms: number): void {
    this.#connect ??= this.#store?.histogram(`${this.#prefix}connect_ms`);
    this.#connect?.record(ms);
  }

  /** `busy`: requests were under way. Of one that was not opened here, nothing. */
  closed(socket: Socket, nowMs: number, busy: boolean): void {
    const live = this.#live.get(socket);
    if (live === undefined) return;
    this.#live.delete(socket);
    this.#received += socket.bytesRead;
    this.#sent += socket.bytesWritten;
    if (this.#kind === 'tcp') return;
    this.#length ??= this.#store?.histogram(`${this.#prefix}length_ms`);
    this.#length?.record(nowMs - live.sinceMs);
    if (live.remote) {
      this.#remote++;
      if (busy) this.#remoteActive++;
    } else {
      this.#local++;
      if (busy) this.#localActive++;
    }
  }

  /** For the store. */
  *tell(): Iterable<readonly [name: string, value: number, kind: StatKind]> {
    if (!this.#used) return;
    let [received, sent, unsent, http1, http2, tls] = [this.#received, this.#sent, 0, 0, 0, 0];
    for (const [socket, live] of this.#live) {
      received += socket.bytesRead;
      sent += socket.bytesWritten;
      unsent += socket.writableLength;
      if (live.spoken === 'http1') http1++;
      else if (live.spoken === 'http2') http2++;
      if (live.tls) tls++;
    }
    yield ['rx_bytes_total', received, 'counter'];
    // Written by us and not gone yet is not sent.
    yield ['tx_bytes_total', Math.max(0, sent - unsent), 'counter'];
    yield ['tx_bytes_buffered', unsent, 'gauge'];
    if (this.#kind === 'tcp') {
      yield ['total', this.#begun, 'counter'];
      return;
    }
    const isHttp = this.#kind === 'http';
    const active = isHttp ? 'active_rq' : 'with_active_rq';
    yield ['destroy', this.#local + this.#remote, 'counter'];
    yield ['destroy_local', this.#local, 'counter'];
    yield ['destroy_remote', this.#remote, 'counter'];
    yield [`destroy_${active}`, this.#localActive + this.#remoteActive, 'counter'];
    yield [`destroy_local_${active}`, this.#localActive, 'counter'];
    yield [`destroy_remote_${active}`, this.#remoteActive, 'counter'];
    yield ['http1_total', this.http1, 'counter'];
    yield ['http2_total', this.http2, 'counter'];
    yield ['idle_timeout', this.idleTimeouts, 'counter'];
    yield [isHttp ? 'max_requests_reached' : 'max_requests', this.maxRequests, 'counter'];
    yield ['max_duration_reached', this.maxDurations, 'counter'];
    yield ['protocol_error', this.protocolErrors, 'counter'];
    if (!isHttp) return;
    yield ['ssl_total', this.#tls, 'counter'];
    yield ['ssl_active', tls, 'gauge'];
    yield ['http1_active', http1, 'gauge'];
    yield ['http2_active', http2, 'gauge'];
  }

  /** Counters begin anew. */
  reset(): void {
    this.#local = this.#remote = this.#localActive = this.#remoteActive = 0;
    this.#received = this.#sent = this.#tls = this.#begun = 0;
    // What the open ones have carried so far is told no more.
    for (const { socket } of this.#live.values()) {
      this.#received -= socket.bytesRead;
      this.#sent -= socket.bytesWritten - socket.writableLength;
    }
    this.http1 = this.http2 = this.idleTimeouts = this.maxRequests = this.maxDurations = this.protocolErrors = 0;
  }

  dropped(): void {
    this.#store = undefined;
  }
}

/** One for all versions of what has the prefix. */
export const connectionLedger = (store: StatsStore, prefix: string, kind: LedgerKind): ConnectionLedger =>
  store.teller(prefix, () => new ConnectionLedger(store, prefix, kind));
