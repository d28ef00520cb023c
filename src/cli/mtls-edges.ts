// Who calls whom, in plain text or over mutual TLS, from the standard metrics of the called sidecars, and what STRICT would do to it. Pure.

import type { Listener } from '../xds/gen/types.ts';

export interface Caller {
  readonly workload: string;
  readonly namespace: string;
}

/** How a sidecar's inbound ports take connections now. */
export type InboundMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE' | 'MIXED';

export interface Edge {
  readonly source: Caller;
  /** The caller's SPIFFE id where it has shown a certificate. */
  readonly principal: string;
  /** The called service; where none is known, the workload as `NAME.NAMESPACE`. */
  readonly destination: { readonly service: string; readonly namespace: string };
  readonly protocol: string;
  /** Requests; for TCP connections. */
  readonly plaintext: number;
  readonly mutualTls: number;
  readonly mode: InboundMode;
  readonly underStrict: 'works' | 'refused' | 'depends';
  readonly why: string;
}

/** One sidecar's page of metrics, at an earlier time too where only what came since counts. */
export interface Reading {
  readonly metrics: string;
  readonly before?: string;
  readonly mode: InboundMode;
}

interface Count {
  readonly labels: ReadonlyMap<string, string>;
  principal: string;
  plaintext: number;
  mutualTls: number;
  mode: InboundMode;
}

const SERIES = /^istio_(?:requests_total|tcp_connections_opened_total)\{(.*)\} (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const KEY = ['source_workload', 'source_workload_namespace', 'destination_workload_namespace', 'request_protocol'] as const;

/** `hasSidecar`: whether a workload can speak mutual TLS at all. Sorted, those that STRICT would refuse first. */
export const edgesOf = (readings: readonly Reading[], hasSidecar: (caller: Caller) => boolean): Edge[] => {
  const counts = new Map<string, Count>();
  for (const { metrics, before, mode } of readings) {
    countPage(metrics, 1, mode, counts);
    if (before !== undefined) countPage(before, -1, mode, counts);
  }
  return [...counts.values()]
    .filter((count) => count.plaintext > 0 || count.mutualTls > 0)
    .map((count) => edge(count, hasSidecar))
    .toSorted((a, b) => order(a).localeCompare(order(b)));
};

const countPage = (page: string, sign: 1 | -1, mode: InboundMode, counts: Map<string, Count>): void => {
  for (const line of page.split('\n')) {
    const series = SERIES.exec(line);
    if (series === null) continue;
    const labels = new Map([...(series[1] ?? '').matchAll(LABEL)].map((l) => [l[1] ?? '', (l[2] ?? '').replace(/\\(.)/g, '$1')]));
    const policy = labels.get('connection_security_policy');
    if (labels.get('reporter') === 'destination' && (policy === 'none' || policy === 'mutual_tls'))
      add(labels, policy, sign * Number(series[2]), mode, counts);
  }
};

const add = (
  labels: ReadonlyMap<string, string>,
  policy: 'none' | 'mutual_tls',
  by: number,
  mode: InboundMode,
  counts: Map<string, Count>,
) => {
  if (!Number.isFinite(by)) return;
  const principal = told(labels, 'source_principal');
  // Callers that told no name are told apart by their certificates.
  const service = serviceOf(labels);
  const key = [...KEY.map((name) => told(labels, name)), service, told(labels, 'source_workload') === '' ? principal : ''].join('\n');
  let count = counts.get(key);
  if (count === undefined) {
    count = { labels, principal, plaintext: 0, mutualTls: 0, mode };
    counts.set(key, count);
  }
  if (principal !== '') count.principal = principal;
  if (policy === 'none') count.plaintext += by;
  else count.mutualTls += by;
  if (count.mode !== mode) count.mode = 'MIXED';
};

const serviceOf = (labels: ReadonlyMap<string, string>): string =>
  told(labels, 'destination_service') || `${told(labels, 'destination_workload')}.${told(labels, 'destination_workload_namespace')}`;

const told = (labels: ReadonlyMap<string, string>, name: string): string => {
  const value = labels.get(name) ?? '';
  return value === 'unknown' ? '' : value;
};

const edge = ({ labels, principal, plaintext, mutualTls, mode }: Count, hasSidecar: (caller: Caller) => boolean): Edge => {
  const source = { workload: told(labels, 'source_workload'), namespace: told(labels, 'source_workload_namespace') };
  return {
    source,
    principal,
    destination: { service: serviceOf(labels), namespace: told(labels, 'destination_workload_namespace') },
    protocol: told(labels, 'request_protocol'),
    plaintext: Math.max(0, plaintext),
    mutualTls: Math.max(0, mutualTls),
    mode,
    ...verdict(plaintext, mode, source, hasSidecar),
  };
};

const verdict = (
  plaintext: number,
  mode: InboundMode,
  source: Caller,
  hasSidecar: (caller: Caller) => boolean,
): Pick<Edge, 'underStrict' | 'why'> => {
  if (plaintext <= 0) return { underStrict: 'works', why: '' };
  if (source.workload === '') return { underStrict: 'refused', why: 'a caller outside the mesh: it shows no certificate' };
  if (!hasSidecar(source)) return { underStrict: 'refused', why: 'its workload has no sidecar' };
  if (mode === 'STRICT') return { underStrict: 'works', why: 'plain text from before the port was STRICT' };
  if (mode === 'DISABLE' || mode === 'MIXED')
    return { underStrict: 'depends', why: 'mutual TLS is off at a port of the destination; callers with sidecars follow when it is on' };
  return { underStrict: 'refused', why: 'its sidecar sends plain text: a DestinationRule with tls.mode DISABLE or SIMPLE?' };
};

const order = (e: Edge): string =>
  [
    { refused: 0, depends: 1, works: 2 }[e.underStrict],
    e.destination.namespace,
    e.destination.service,
    e.source.namespace,
    e.source.workload,
    e.protocol,
  ].join('\n');

/** From the configuration that a sidecar has in force (its config_dump of listeners): what its inbound listener takes. */
export const inboundMode = (listeners: readonly Pick<Listener, 'traffic_direction' | 'filter_chains'>[]): InboundMode | undefined => {
  const chains = listeners.filter((l) => l.traffic_direction === 'INBOUND').flatMap((l) => l.filter_chains ?? []);
  const modes = new Set<InboundMode>();
  const ports = new Set(chains.map((chain) => chain.filter_chain_match?.destination_port ?? 0));
  for (const port of ports) {
    const own = chains.filter((chain) => (chain.filter_chain_match?.destination_port ?? 0) === port && !BLACK_HOLE.test(chain.name ?? ''));
    const secure = own.some((chain) => chain.transport_socket !== undefined);
    const plain = own.some((chain) => chain.transport_socket === undefined && chain.filter_chain_match?.transport_protocol !== 'tls');
    if (secure || plain) modes.add(secure ? (plain ? 'PERMISSIVE' : 'STRICT') : 'DISABLE');
  }
  const [only] = modes;
  return modes.size > 1 ? 'MIXED' : only;
};
const BLACK_HOLE = /blackhole/i;
