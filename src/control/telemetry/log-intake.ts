// Entries of access logs into the ring of requests and, for proxies that count nothing themselves (a stock Envoy), into the store. Such a
// proxy says addresses and clusters: who that is, is looked up.
import { bucketOf } from '../../base/latency-buckets.ts';
import type { Node } from '../../xds/gen/types.ts';
import { type LogEntry, readAccessLogs } from './log-reader.ts';
import { isError } from './metrics-intake.ts';
import { type Party, type RecentRequest, type RecentRequests, shownText } from './recent-requests.ts';
import { isRefusal, type RefusedConnection, type RefusedConnections } from './refused-connections.ts';
import type { SignalStore } from './signal-store.ts';
import { type Directory, hostOf, NOBODY, partyOfPrincipal, type Speaker } from './speaker.ts';

/** Name of the log whose entries are a choice and not all: what they are of is counted elsewhere. */
export const CHOSEN_LOG = 'skein-requests';

export interface LogSpeaker extends Speaker {
  readonly counts: boolean;
}

export interface LogIntakeOptions {
  readonly store: SignalStore;
  readonly requests: RecentRequests;
  readonly refused?: RefusedConnections;
  readonly directory: Directory;
  readonly now: () => number;
  /** Requests of proxies that count nothing themselves are counted. */
  readonly counts: boolean;
}

export class LogIntake {
  readonly #options: LogIntakeOptions;

  constructor(options: LogIntakeOptions) {
    this.#options = options;
  }

  /** `admit`: one more entry may be taken. Throws WireError. */
  take(
    bytes: Uint8Array,
    identified: (node: Node, logName: string) => LogSpeaker | undefined,
    known: LogSpeaker | undefined,
    admit: () => boolean,
  ): LogSpeaker | undefined {
    let speaker = known;
    readAccessLogs(bytes, {
      identified: (node, logName) => {
        speaker ??= identified(node, logName);
      },
      entry: (entry) => {
        if (speaker === undefined) return false;
        if (admit()) this.#entry(entry, speaker);
        return true;
      },
    });
    return speaker;
  }

  #entry(entry: LogEntry, speaker: LogSpeaker): void {
    if (entry.kind === 'tcp' && isRefusal(entry.termination)) this.#options.refused?.add(this.#refusal(entry, speaker));
    const inbound = isInbound(entry, speaker);
    const reporter = inbound ? 'destination' : speaker.gateway ? 'gateway' : 'source';
    const { source, destination } = this.#parties(entry, speaker, inbound);
    const grpcStatus = entry.responseTrailers?.get('grpc-status') ?? entry.responseHeaders?.get('grpc-status') ?? '';
    const isGrpc = grpcStatus !== '' || (entry.requestHeaders?.get('content-type') ?? '').startsWith('application/grpc');
    const protocol = entry.kind === 'tcp' ? 'tcp' : isGrpc ? 'grpc' : 'http';
    if (speaker.counts && this.#options.counts) this.#count(entry, speaker, { reporter, source, destination, protocol, grpcStatus });
    if (entry.kind === 'http') this.#options.requests.add(requestOf(entry, speaker.proxy, reporter, source, destination, protocol));
  }

  #refusal(entry: LogEntry, { proxy, party }: LogSpeaker): RefusedConnection {
    const remote = entry.downstreamDirect || entry.downstreamRemote;
    const seen = this.#options.directory.at(remote) ?? (entry.peerUri === '' ? NOBODY : partyOfPrincipal(entry.peerUri));
    return {
      atMs: entry.startMs,
      proxy,
      source: { ...seen, principal: entry.peerUri },
      destination: party,
      remote: shownText(remote),
      local: shownText(entry.downstreamLocal),
      sni: shownText(entry.sni),
      cluster: shownText(entry.cluster),
      details: shownText(entry.termination),
    };
  }

  #parties(entry: LogEntry, { party }: LogSpeaker, inbound: boolean): { readonly source: Party; readonly destination: Party } {
    const { directory } = this.#options;
    const tag = (name: string): string => entry.tags?.get(name) ?? '';
    if (inbound) {
      const told = tag('source_workload');
      const seen = directory.at(entry.downstreamDirect || entry.downstreamRemote);
      const peer = told !== '' ? { ...NOBODY, workload: told, namespace: tag('source_workload_namespace') } : seen;
      const source = peer ?? (entry.peerUri === '' ? NOBODY : partyOfPrincipal(entry.peerUri));
      const service = tag('destination_service') || serviceOfAuthority(entry.authority, party.namespace);
      return { source: { ...source, principal: entry.peerUri || tag('source_principal') }, destination: { ...party, service } };
    }
    const told = tag('destination_workload');
    const far = told !== '' ? { ...NOBODY, workload: told, namespace: tag('destination_workload_namespace') } : undefined;
    const version = tag('destination_version');
    const found = far ?? directory.at(entry.upstreamRemote) ?? NOBODY;
    const service = tag('destination_service') || serviceOfCluster(entry.cluster) || hostOf(entry.authority);
    return {
      source: party,
      destination: { ...found, service, version: version || found.version, principal: tag('destination_principal') || found.principal },
    };
  }

  #count(
    entry: LogEntry,
    speaker: LogSpeaker,
    seen: {
      readonly reporter: RecentRequest['reporter'];
      readonly source: Party;
      readonly destination: Party;
      readonly protocol: string;
      readonly grpcStatus: string;
    },
  ): void {
    const { reporter, source, destination, protocol, grpcStatus } = seen;
    const { store, now } = this.#options;
    const inbound = reporter === 'destination';
    const key = {
      reporter,
      sourceWorkload: source.workload,
      sourceNamespace: source.namespace,
      sourcePrincipal: source.principal,
      workload: destination.workload,
      namespace: destination.namespace,
      principal: destination.principal,
      service: destination.service,
      serviceNamespace: /^[^.]+\.([^.]+)\.svc\./.exec(destination.service)?.[1] ?? '',
      version: destination.version,
      route: entry.kind === 'tcp' ? '' : entry.route,
      protocol,
      // Of the connection to the far side its log says nothing.
      mtls: inbound ? (entry.peerUri === '' ? 'none' : 'mutual_tls') : 'unknown',
    } as const;
    const cell = store.cell(key, speaker.proxy, now());
    if (entry.kind === 'tcp') {
      countConnection(cell, entry);
      return;
    }
    if (entry.intermediate) return;
    cell.requests += 1;
    if (isError(entry.status, grpcStatus)) cell.errors += 1;
    cell.bytesIn += entry.requestBytes;
    cell.bytesOut += entry.responseBytes;
    cell.time(bucketOf(entry.durationMs), 1);
  }
}

/** Of a connection that goes on it says sums: only its end is counted, so opened and closed come together. */
const countConnection = (cell: { opened: number; closed: number; sent: number; received: number }, entry: LogEntry): void => {
  if (entry.intermediate) return;
  cell.opened += 1;
  cell.closed += 1;
  cell.sent += entry.sent;
  cell.received += entry.received;
};

/** Clusters are named for the direction; without one the address that was called tells. */
const isInbound = ({ cluster, downstreamLocal, tags }: LogEntry, { addresses, gateway }: Speaker): boolean => {
  if (gateway) return false;
  const told = tags?.get('reporter');
  if (told !== undefined) return told === 'destination';
  if (cluster.startsWith('inbound|') || cluster === 'InboundPassthroughCluster') return true;
  if (cluster !== '') return false;
  return addresses.includes(hostOf(downstreamLocal));
};

/** `order.shop.svc.cluster.local` of `outbound|8080|v1|order.shop.svc.cluster.local`. */
const serviceOfCluster = (cluster: string): string => (cluster.startsWith('outbound|') ? (cluster.split('|')[3] ?? '') : '');

/** A short name is one of the namespace of who was called. */
const serviceOfAuthority = (authority: string, namespace: string): string => {
  const host = hostOf(authority);
  if (host === '' || /^[\d.]+$/.test(host) || host.includes(':')) return '';
  const labels = host.split('.');
  if (labels.length === 1) return `${host}.${namespace}.svc.cluster.local`;
  if (labels.length === 2 && labels[1] === namespace) return `${host}.svc.cluster.local`;
  return labels.length === 3 && labels[2] === 'svc' ? `${host}.cluster.local` : host;
};

const METHODS = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];

interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
}

/** As the sidecar says them, else of the headers that the request came with: then the span is the caller's. */
const traceIds = ({ tags, requestHeaders: headers }: LogEntry): TraceIds => {
  const told = tags?.get('trace_id') ?? '';
  if (told !== '') return { traceId: told, spanId: tags?.get('span_id') ?? '', parentSpanId: tags?.get('parent_span_id') ?? '' };
  const w3c = /^[\da-f]{2}-([\da-f]{32})-([\da-f]{16})-/.exec(headers?.get('traceparent') ?? '');
  if (w3c !== null) return { traceId: w3c[1] ?? '', spanId: '', parentSpanId: w3c[2] ?? '' };
  const single = /^([\da-f]{16,32})-([\da-f]{16})/.exec(headers?.get('b3') ?? '');
  if (single !== null) return { traceId: single[1] ?? '', spanId: '', parentSpanId: single[2] ?? '' };
  return { traceId: headers?.get('x-b3-traceid') ?? '', spanId: '', parentSpanId: headers?.get('x-b3-spanid') ?? '' };
};

const requestOf = (
  entry: LogEntry,
  proxy: string,
  reporter: RecentRequest['reporter'],
  source: Party,
  destination: Party,
  protocol: string,
): RecentRequest => {
  const { traceId, spanId, parentSpanId } = traceIds(entry);
  return {
    atMs: entry.startMs,
    reporter,
    proxy,
    source,
    destination,
    method: METHODS[entry.method] ?? '',
    path: shownText(withoutQuery(entry.originalPath || entry.path)),
    authority: shownText(entry.authority),
    status: entry.status,
    flags: entry.flags,
    details: shownText(entry.details),
    durationMs: entry.durationMs,
    bytesIn: entry.requestBytes,
    bytesOut: entry.responseBytes,
    route: shownText(entry.route),
    cluster: shownText(entry.cluster),
    protocol,
    requestId: shownText(entry.requestId || entry.streamId),
    traceId: shownText(traceId),
    spanId: shownText(spanId),
    parentSpanId: shownText(parentSpanId),
    attempts: entry.attempts,
  };
};

/** Queries carry what is nobody's business. */
const withoutQuery = (path: string): string => {
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
};
