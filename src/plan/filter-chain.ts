// Which filter chain takes a connection: Envoy's nested tables. At each step the most specific entry present is taken
// and there is no way back: port, destination range, server name, transport, application protocol, direct source range,
// source type, source range, source port. Nothing found is the default chain, or none.
import type { CidrRange, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate } from '../xds/gen/types.ts';
import { compileRange, type IpRange, inRange, isLoopback, parseIp, rangeKey, sameIp } from './ip-range.ts';
import { PlanError } from './plan-error.ts';

export interface ConnectionFacts {
  /** Where the client meant to go (the original destination). */
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly sourceIp: string;
  readonly sourcePort: number;
  /** The TCP peer; differs from sourceIp behind PROXY protocol. */
  readonly directSourceIp: string;
  readonly transportProtocol: 'tls' | 'raw_buffer';
  /** '' when none was sent. */
  readonly sni: string;
  /** Of the ClientHello, or what the http_inspector saw. */
  readonly alpn: readonly string[];
}

export interface FilterChainPlan {
  readonly name: string;
  readonly chainCount: number;
  readonly hasDefault: boolean;
  /** A lone chain without criteria: no table is looked into. */
  readonly only: boolean;
  readonly ports: Map<number, Ranges<Names>>;
  /** Matching looks at SNI, transport or application protocols. */
  readonly readsFirstBytes: boolean;
}
export const DEFAULT_CHAIN = -1;
export const NO_CHAIN = -2;

/** Index into `filter_chains`, -1 the default chain, -2 none. */
export const matchFilterChain = (plan: FilterChainPlan, conn: ConnectionFacts): number => {
  if (plan.only) return 0;
  const otherwise = plan.hasDefault ? DEFAULT_CHAIN : NO_CHAIN;
  const byPort = plan.ports.get(conn.destinationPort) ?? plan.ports.get(0);
  if (byPort === undefined) return otherwise;
  const source = parseIp(conn.sourceIp);
  const destination = parseIp(conn.destinationIp);
  const transports = nameIn(longest(byPort, destination), conn.sni);
  const protocols = transports?.get(conn.transportProtocol) ?? transports?.get('');
  const direct = longest(protocolIn(protocols, conn.alpn), parseIp(conn.directSourceIp));
  if (direct === undefined) return otherwise;
  const local = source !== undefined && (isLoopback(source) || (destination !== undefined && sameIp(source, destination)));
  const sources = direct.get(local ? 'SAME_IP_OR_LOOPBACK' : 'EXTERNAL') ?? direct.get('ANY');
  const ports = longest(sources, source);
  return ports?.get(conn.sourcePort) ?? ports?.get(0) ?? otherwise;
};

// Tables, outermost first. A key of '' or 0 means "any".
type SourcePorts = Map<number, number>;
type SourceTypes = Map<string, Ranges<SourcePorts>>;
type Protocols = Map<string, Ranges<SourceTypes>>;
type Transports = Map<string, Protocols>;
type Names = Map<string, Transports>;
interface Ranges<T> {
  /** Longest prefix first; `range` undefined matches every address. */
  readonly entries: { readonly key: string; readonly range: IpRange | undefined; readonly value: T }[];
}

const longest = <T>(ranges: Ranges<T> | undefined, ip: Uint8Array | undefined): T | undefined => {
  for (const entry of ranges?.entries ?? [])
    if (entry.range === undefined || (ip !== undefined && inRange(entry.range, ip))) return entry.value;
  return undefined;
};

/** Exact name, then `.suffix` of ever fewer labels, then any. */
const nameIn = (names: Names | undefined, sni: string): Transports | undefined => {
  if (names === undefined) return undefined;
  const exact = names.get(sni);
  if (exact !== undefined) return exact;
  for (let dot = sni.indexOf('.', 1); dot > 0 && dot < sni.length - 1; dot = sni.indexOf('.', dot + 1)) {
    const found = names.get(sni.slice(dot));
    if (found !== undefined) return found;
  }
  return names.get('');
};

const protocolIn = (protocols: Protocols | undefined, alpn: readonly string[]): Ranges<SourceTypes> | undefined => {
  for (const protocol of alpn) {
    const found = protocols?.get(protocol);
    if (found !== undefined) return found;
  }
  return protocols?.get('');
};

/** Throws PlanError for criteria that cannot be honoured and for chains that claim the same connections. */
export const compileFilterChains = (listener: Listener): FilterChainPlan => {
  if (listener.filter_chain_matcher !== undefined) throw new PlanError('filter_chain_matcher', 'is not supported');
  const chains = listener.filter_chains ?? [];
  const ports = new Map<number, Ranges<Names>>();
  for (const [i, chain] of chains.entries()) addChain(ports, chain.filter_chain_match ?? {}, i);
  const matches = chains.map((c) => c.filter_chain_match ?? {});
  return {
    name: listener.name ?? '',
    chainCount: chains.length,
    hasDefault: listener.default_filter_chain !== undefined,
    only: matches.length === 1 && matches.every((m) => Object.keys(m).length === 0),
    ports,
    readsFirstBytes: matches.some(
      (m) => m.transport_protocol !== undefined || (m.server_names ?? []).length > 0 || (m.application_protocols ?? []).length > 0,
    ),
  };
};

const addChain = (ports: Map<number, Ranges<Names>>, match: FilterChainMatch, index: number): void => {
  const path = `filter_chains[${index}].filter_chain_match`;
  if (match.address_suffix !== undefined) throw new PlanError(`${path}.address_suffix`, 'is not supported');
  if (match.suffix_len !== undefined) throw new PlanError(`${path}.suffix_len`, 'is not supported');
  const transport = match.transport_protocol ?? '';
  const protocols = orAny(match.application_protocols);
  const names = orAny(match.server_names).map((name, i) => serverName(name, `${path}.server_names[${i}]`));
  const type = typeof match.source_type === 'string' ? match.source_type : 'ANY';
  const sourcePorts = (match.source_ports ?? []).length > 0 ? (match.source_ports ?? []) : [0];
  const destinations = rangesOf(match.prefix_ranges, `${path}.prefix_ranges`);
  const directs = rangesOf(match.direct_source_prefix_ranges, `${path}.direct_source_prefix_ranges`);
  const sources = rangesOf(match.source_prefix_ranges, `${path}.source_prefix_ranges`);
  const byPort = entry(ports, match.destination_port ?? 0, newRanges<Names>);
  for (const destination of destinations)
    for (const name of names)
      for (const protocol of protocols)
        for (const direct of directs) {
          const transports = entry(
            rangeEntry(byPort, destination, () => new Map()),
            name,
            () => new Map(),
          );
          const types = rangeEntry(
            entry(
              entry(transports, transport, () => new Map()),
              protocol,
              newRanges<SourceTypes>,
            ),
            direct,
            () => new Map(),
          );
          const bySource = entry(types, type, newRanges<SourcePorts>);
          for (const source of sources) {
            const byPortNumber = rangeEntry(bySource, source, () => new Map<number, number>());
            for (const port of sourcePorts) {
              const other = byPortNumber.get(port);
              if (other !== undefined && other !== index)
                throw new PlanError(path, `takes the same connections as filter_chains[${other}]`);
              byPortNumber.set(port, index);
            }
          }
        }
};

const orAny = (list: readonly string[] | undefined): readonly string[] => (list === undefined || list.length === 0 ? [''] : list);

const serverName = (raw: string, path: string): string => {
  const name = raw.toLowerCase();
  if (name === '*') return '';
  if (name.startsWith('*.') && !name.includes('*', 1)) return name.slice(1);
  if (name.includes('*')) throw new PlanError(path, 'only *.suffix wildcards are supported');
  return name;
};

const rangesOf = (ranges: readonly CidrRange[] | undefined, path: string): readonly (IpRange | undefined)[] =>
  ranges === undefined || ranges.length === 0 ? [undefined] : ranges.map((r, i) => compileRange(r, `${path}[${i}]`));

const newRanges = <T>(): Ranges<T> => ({ entries: [] });

const entry = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
};

const rangeEntry = <T>(ranges: Ranges<T>, range: IpRange | undefined, make: () => T): T => {
  const key = range === undefined ? '' : rangeKey(range);
  const found = ranges.entries.find((e) => e.key === key);
  if (found !== undefined) return found.value;
  const made = { key, range, value: make() };
  ranges.entries.push(made);
  ranges.entries.sort((a, b) => (b.range?.bits ?? -1) - (a.range?.bits ?? -1));
  return made.value;
};

/** Whether the first bytes of a connection to `port` must be looked at for TLS: a tls_inspector that is on, or chains that cannot do without. */
export const needsTlsInspector = (listener: Listener, port: number): boolean => {
  const filter = listenerFilter(listener, TLS_INSPECTOR);
  if (filter !== undefined) return !disabledFor(filter.filter_disabled, port);
  return (listener.filter_chains ?? []).some(({ filter_chain_match: m }) => {
    const transport = m?.transport_protocol ?? '';
    const byHello = (m?.server_names ?? []).length > 0 || (m?.application_protocols ?? []).length > 0;
    return transport === 'tls' || (transport === '' && byHello);
  });
};

/** Whether the first bytes of a connection to `port` must be looked at for HTTP: an http_inspector that is on. */
export const needsHttpInspector = (listener: Listener, port: number): boolean => {
  const filter = listenerFilter(listener, HTTP_INSPECTOR);
  return filter !== undefined && !disabledFor(filter.filter_disabled, port);
};

const TLS_INSPECTOR = 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector';
const HTTP_INSPECTOR = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';

const listenerFilter = (listener: Listener, type: string): ListenerFilter | undefined =>
  listener.listener_filters?.find(
    ({ typed_config: config }) => config !== undefined && '@type' in config && config['@type'].endsWith(`/${type}`),
  );

const disabledFor = (predicate: ListenerFilterChainMatchPredicate | undefined, port: number): boolean => {
  if (predicate === undefined) return false;
  if (predicate.or_match !== undefined) return (predicate.or_match.rules ?? []).some((rule) => disabledFor(rule, port));
  if (predicate.and_match !== undefined) return (predicate.and_match.rules ?? []).every((rule) => disabledFor(rule, port));
  if (predicate.not_match !== undefined) return !disabledFor(predicate.not_match, port);
  if (predicate.any_match !== undefined) return predicate.any_match;
  const range = predicate.destination_port_range;
  return range !== undefined && port >= (range.start ?? 0) && port < (range.end ?? 0);
};
