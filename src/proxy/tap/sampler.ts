// Every exchange that ends while somebody taps comes by here, and every TCP connection: matched against each tap, and given on as a record
// as often as its rate lets it; the rest is counted. One of it in every worker. Keeps nothing of an exchange.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { serviceOf } from '../telemetry/parties.ts';
import type { Peer } from '../telemetry/peer-metadata.ts';
import { type Redaction, redaction } from './redaction.ts';
import { clusterAhead, hostOfCluster, type TapConnection, tapConnection } from './tap-connection.ts';
import { destinationPeer, type Ends, type Exchange, sourcePeer, type TapRecord, tapRecord } from './tap-record.ts';
import type { TapMatch, TapRequest } from './tap-request.ts';

/** A tap as every worker is told of it. */
export interface OpenTap {
  readonly id: number;
  readonly request: TapRequest;
}

/** `skipped`: matched and not shown since the last time. Without a record: only that. */
export type Tapped = (id: number, record: TapShown | undefined, skipped: number) => void;

export type TapShown = TapRecord | TapConnection;

export class Sampler {
  readonly #own: Peer;
  readonly #nowMs: () => number;
  readonly #tapped: Tapped;
  #taps: readonly Tap[] = [];

  constructor(own: Peer, nowMs: () => number, tapped: Tapped) {
    this.#own = own;
    this.#nowMs = nowMs;
    this.#tapped = tapped;
  }

  set(open: readonly OpenTap[]): void {
    for (const tap of this.#taps) if (!open.some(({ id }) => id === tap.id)) tap.tellSkipped(this.#tapped);
    this.#taps = open.map((o) => this.#taps.find((t) => t.id === o.id) ?? new Tap(o, this.#nowMs()));
  }

  /** What was skipped and not told yet. */
  tellSkipped(): void {
    for (const tap of this.#taps) tap.tellSkipped(this.#tapped);
  }

  httpDone(
    info: StreamInfo,
    request: HeaderBlock | undefined,
    response: HeaderBlock | undefined,
    trailers: HeaderBlock | undefined,
    { direction }: ListenerContext,
  ): void {
    const exchange: Exchange = { info, request, response, trailers, inbound: direction === 'INBOUND' };
    for (const tap of this.#taps)
      if (matches(tap.request.match, exchange, this.#own) && tap.take(this.#nowMs()))
        this.#show(tap, tapRecord(exchange, this.#own, tap.hide, tap.request.withHeaders));
  }

  tcpOpened(info: StreamInfo, context: ListenerContext): void {
    for (const tap of this.#taps) if (tap.request.open) this.#connection(tap, info, context, 'open');
  }

  tcpClosed(info: StreamInfo, context: ListenerContext): void {
    for (const tap of this.#taps) if (tap.request.tcp) this.#connection(tap, info, context, 'close');
  }

  #connection(tap: Tap, info: StreamInfo, context: ListenerContext, event: TapConnection['event']): void {
    const inbound = context.direction === 'INBOUND';
    const ahead = event === 'open' ? clusterAhead(context) : '';
    if (!matchesConnection(tap.request.match, { info, inbound }, event, this.#own, ahead) || !tap.take(this.#nowMs())) return;
    this.#show(tap, tapConnection(info, inbound, event, this.#own, ahead));
  }

  #show(tap: Tap, record: TapShown): void {
    const { skipped } = tap;
    tap.skipped = 0; // whoever is told may end the tap at once
    this.#tapped(tap.id, record, skipped);
  }
}

/** One tap's share of a second, and what was over it. */
class Tap {
  readonly id: number;
  readonly request: TapRequest;
  readonly hide: Redaction;
  skipped = 0;
  #tokens: number;
  #atMs: number;

  constructor({ id, request }: OpenTap, nowMs: number) {
    this.id = id;
    this.request = request;
    this.hide = redaction(request.redact);
    this.#tokens = request.maxPerSecond;
    this.#atMs = nowMs;
  }

  take(nowMs: number): boolean {
    const { maxPerSecond } = this.request;
    this.#tokens = Math.min(maxPerSecond, this.#tokens + (Math.max(0, nowMs - this.#atMs) / 1000) * maxPerSecond);
    this.#atMs = nowMs;
    if (this.#tokens < 1) {
      this.skipped++;
      return false;
    }
    this.#tokens--;
    return true;
  }

  tellSkipped(to: Tapped): void {
    if (this.skipped > 0) to(this.id, undefined, this.skipped);
    this.skipped = 0;
  }
}

export const matches = (match: TapMatch, exchange: Exchange, own: Peer): boolean => {
  const { info, request, inbound } = exchange;
  if (match.direction !== undefined && (match.direction === 'inbound') !== inbound) return false;
  if (match.method !== undefined && match.method !== info.method) return false;
  if (match.pathPrefix !== undefined && !info.path.startsWith(match.pathPrefix)) return false;
  if (match.path !== undefined && withoutQuery(info.path) !== match.path) return false;
  if (match.authority !== undefined && !isAuthority(info.authority.toLowerCase(), match.authority)) return false;
  if (match.minDurationMs !== undefined && !(info.endTime - info.startTime >= match.minDurationMs)) return false;
  if (match.status !== undefined && !match.status.some((s) => isStatus(info.responseCode, s))) return false;
  if (match.headers?.some(({ name, value }) => !hasHeader(request, name, value))) return false;
  if (match.from !== undefined && !isParty(sourcePeer(exchange, own), match.from)) return false;
  return match.to === undefined || isParty(destinationPeer(exchange, own), match.to) || isService(exchange, match.to);
};

/** What is asked of a request no connection has. */
export const matchesConnection = (match: TapMatch, ends: Ends, event: TapConnection['event'], own: Peer, ahead: string): boolean => {
  const { direction, minDurationMs, from, to, ...ofRequests } = match;
  if (Object.keys(ofRequests).length > 0) return false;
  if (direction !== undefined && (direction === 'inbound') !== ends.inbound) return false;
  if (minDurationMs !== undefined && !(event === 'close' && ends.info.endTime - ends.info.startTime >= minDurationMs)) return false;
  if (from !== undefined && !isParty(sourcePeer(ends, own), from)) return false;
  return to === undefined || isParty(destinationPeer(ends, own), to) || isService(ends, to) || isHost(hostOfCluster(ahead), to);
};

/** `NAME` or `NAME.NAMESPACE` of a service's host, or the host. */
const isHost = (host: string, name: string): boolean => host !== '' && (host === name || `${host}.`.startsWith(`${name}.`));

const withoutQuery = (path: string): string => {
  const at = path.indexOf('?');
  return at < 0 ? path : path.slice(0, at);
};

/** With or without its port. */
const isAuthority = (have: string, want: string): boolean => have === want || have.replace(/:\d+$/, '') === want;

const isStatus = (code: number, want: string): boolean =>
  want.endsWith('xx') ? Math.floor(code / 100) === Number(want[0]) : code === Number(want);

const hasHeader = (request: HeaderBlock | undefined, name: string, value: string | undefined): boolean =>
  value === undefined ? (request?.has(name) ?? false) : (request?.values(name).includes(value) ?? false);

const isParty = (peer: Peer | undefined, name: string): boolean =>
  peer !== undefined && (isNamed(peer.workload, peer.namespace, name) || isNamed(peer.canonicalService, peer.namespace, name));

const isNamed = (own: string, namespace: string, name: string): boolean => own !== '' && (own === name || `${own}.${namespace}` === name);

const isService = ({ info }: Ends, name: string): boolean => {
  const service = serviceOf(info, false);
  return service.host === name || isNamed(service.name, service.namespace, name);
};
