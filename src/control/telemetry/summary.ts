// Rows of a summary from the series of a look back: grouped as asked, percentiles and rates computed, every request counted once. Both
// sides of a call tell of it: the caller's word counts, because it also knows of what never arrived; the called side's only where the
// caller tells nothing. Pure.
import { BUCKETS, percentile } from '../../base/latency-buckets.ts';
import type { Mtls, SeriesKey } from './series-table.ts';
import { Cell } from './slice.ts';

export type GroupBy = 'route' | 'edge' | 'workload' | 'version' | 'service';
export const GROUPS: readonly GroupBy[] = ['route', 'edge', 'workload', 'version', 'service'];

export interface SummaryFilter {
  readonly namespace?: string;
  readonly workload?: string;
  readonly host?: string;
}

export interface SummaryRow {
  readonly source: { readonly workload: string; readonly namespace: string; readonly principal: string } | null;
  readonly destination: {
    readonly workload: string;
    readonly namespace: string;
    readonly service: string;
    readonly version: string;
    readonly principal: string;
  } | null;
  readonly route: string | null;
  readonly protocol: string;
  readonly requests: number;
  readonly success: number;
  readonly errors: number;
  readonly rps: number;
  /** Between 0 and 1; null without requests. */
  readonly successRate: number | null;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly tcp: { readonly opened: number; readonly closed: number; readonly sent: number; readonly received: number } | null;
  readonly mtls: Mtls;
}

export interface Signal {
  readonly key: SeriesKey;
  readonly cell: Cell;
}

export const summaryRows = (signals: readonly Signal[], by: GroupBy, filter: SummaryFilter, seconds: number): SummaryRow[] => {
  const groups = new Map<string, { readonly key: SeriesKey; readonly cell: Cell; mtls: Mtls }>();
  for (const { key, cell } of countedOnce(signals)) {
    if (!isWanted(key, filter)) continue;
    const grouped = groupKey(key, by);
    const text = JSON.stringify(grouped);
    const group = groups.get(text);
    if (group === undefined) {
      const own = new Cell();
      own.add(cell);
      groups.set(text, { key: grouped, cell: own, mtls: key.mtls });
    } else {
      group.cell.add(cell);
      if (group.mtls !== key.mtls) group.mtls = both(group.mtls, key.mtls);
    }
  }
  const rows = [...groups.values()].map(({ key, cell, mtls }) => rowOf(key, cell, mtls, by, seconds));
  return rows.sort((a, b) => b.requests - a.requests || (JSON.stringify(a.destination) < JSON.stringify(b.destination) ? -1 : 1));
};

/** What one side does not know, the other may; where they differ, the weaker is what can be said of all. */
const both = (a: Mtls, b: Mtls): Mtls => (a === 'unknown' ? b : b === 'unknown' ? a : 'none');

const edgeOf = (key: SeriesKey): string =>
  `${key.sourceNamespace}/${key.sourceWorkload}>${key.namespace}/${key.workload}|${key.protocol === 'tcp' ? 'tcp' : 'http'}`;

/** Without what the called side says of requests that their caller tells of; what it knows of their security and names is kept. */
const countedOnce = (signals: readonly Signal[]): Signal[] => {
  const told = new Set<string>();
  const known = new Map<string, SeriesKey>();
  for (const { key } of signals) {
    if (key.reporter !== 'destination') told.add(edgeOf(key));
    else known.set(edgeOf(key), { ...key, mtls: both(known.get(edgeOf(key))?.mtls ?? 'unknown', key.mtls) });
  }
  return signals.flatMap(({ key, cell }) => {
    const edge = edgeOf(key);
    if (key.reporter === 'destination') return key.sourceWorkload !== '' && told.has(edge) ? [] : [{ key, cell }];
    const other = known.get(edge);
    if (other === undefined) return [{ key, cell }];
    const mtls = key.mtls === 'unknown' ? other.mtls : key.mtls;
    return [{ key: { ...key, mtls, version: key.version || other.version, principal: key.principal || other.principal }, cell }];
  });
};

const isWanted = (key: SeriesKey, { namespace, workload, host }: SummaryFilter): boolean =>
  (namespace === undefined || key.namespace === namespace || key.sourceNamespace === namespace || key.serviceNamespace === namespace) &&
  (workload === undefined || key.workload === workload || key.sourceWorkload === workload) &&
  (host === undefined || key.service === host || key.service.startsWith(`${host}.`));

const NO_SOURCE = { sourceWorkload: '', sourceNamespace: '', sourcePrincipal: '' };
const NO_DESTINATION = { workload: '', namespace: '', principal: '', version: '' };

/** With everything left out that the groups do not differ by. */
const groupKey = (key: SeriesKey, by: GroupBy): SeriesKey => {
  const base: SeriesKey = { ...key, reporter: 'source', mtls: 'unknown', protocol: key.protocol };
  switch (by) {
    case 'route':
      return { ...base, ...NO_SOURCE, ...NO_DESTINATION };
    case 'edge':
      return { ...base, route: '', version: '' };
    case 'workload':
      return { ...base, ...NO_SOURCE, route: '', version: '', service: '', serviceNamespace: '' };
    case 'version':
      return { ...base, ...NO_SOURCE, route: '' };
    case 'service':
      return { ...base, ...NO_SOURCE, ...NO_DESTINATION, route: '' };
  }
};

const rowOf = (key: SeriesKey, cell: Cell, mtls: Mtls, by: GroupBy, seconds: number): SummaryRow => {
  const { requests, errors, times = new Float64Array(BUCKETS) } = cell;
  const tcp = key.protocol === 'tcp' || cell.opened + cell.closed + cell.sent + cell.received > 0;
  const { sourceWorkload, sourceNamespace, sourcePrincipal, service, workload, version, principal, route } = key;
  const namespace = key.namespace || key.serviceNamespace;
  return {
    source: by === 'edge' ? { workload: sourceWorkload, namespace: sourceNamespace, principal: sourcePrincipal } : null,
    destination: { workload, namespace, service, version, principal },
    route: by === 'route' ? route : null,
    protocol: key.protocol,
    requests,
    success: requests - errors,
    errors,
    rps: seconds > 0 ? requests / seconds : 0,
    successRate: requests === 0 ? null : (requests - errors) / requests,
    p50: percentile(times, 0.5),
    p95: percentile(times, 0.95),
    p99: percentile(times, 0.99),
    bytesIn: cell.bytesIn,
    bytesOut: cell.bytesOut,
    tcp: tcp ? { opened: cell.opened, closed: cell.closed, sent: cell.sent, received: cell.received } : null,
    mtls,
  };
};
