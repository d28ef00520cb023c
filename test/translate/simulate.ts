// A small evaluator of Envoy's choice of listener, filter chain, virtual host and route, after the rules in corpora/README.md. For tests.

import { inRange } from '../../src/mesh/cidr.ts';
import type { ProxyConfig } from '../../src/translate/translate.ts';
import type {
  FilterChain,
  Listener,
  ListenerFilter,
  ListenerFilterChainMatchPredicate,
  Route,
  RouteConfiguration,
  VirtualHost,
} from '../../src/xds/gen/types.ts';

export interface Call {
  readonly port: number;
  readonly protocol?: 'http' | 'http2' | 'tcp';
  readonly tls?: 'plaintext' | 'tls' | 'mtls';
  readonly address?: string;
  readonly hostHeader?: string;
  readonly sni?: string;
  readonly alpn?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly callMode?: 'inbound';
}

export interface Outcome {
  error?: string;
  listenerMatched?: string;
  filterChainMatched?: string;
  routeConfigMatched?: string;
  virtualHostMatched?: string;
  routeMatched?: string;
  clusterMatched?: string;
}

type Raw = Readonly<Record<string, unknown>>;

export const simulate = (config: ProxyConfig, call: Call): Outcome => {
  const out: Outcome = {};
  const listener = findListener(config, call);
  if (listener === undefined) return { error: 'no listener matched' };
  out.listenerMatched = listener.name ?? '';
  const tls = call.tls ?? 'plaintext';
  const http = call.protocol === 'http' || call.protocol === 'http2';
  const inspectsTls = inspects(listener, 'tls_inspector', call.port);
  let transport = tls === 'plaintext' ? 'raw_buffer' : 'tls';
  let alpn = call.alpn ?? defaultAlpn(call, tls);
  const sni = call.sni ?? (tls === 'tls' ? (call.hostHeader ?? '') : '');
  if (!inspectsTls) {
    transport = 'raw_buffer';
    alpn = '';
  }
  if (inspects(listener, 'http_inspector', call.port) && tls === 'plaintext' && http) alpn = call.protocol === 'http2' ? 'h2c' : 'http/1.1';
  const found = chooseChain(listener, {
    port: call.port,
    address: call.address ?? '1.3.3.7',
    transport,
    alpn,
    sni: inspectsTls ? sni : '',
  });
  if (typeof found === 'string') return { ...out, error: found };
  out.filterChainMatched = found.name ?? '';
  const socket = found.transport_socket?.typed_config as Raw | undefined;
  if (socket !== undefined) {
    if (tls === 'plaintext') return { ...out, error: 'invalid TLS' };
    if (requiresMtls(socket) !== (tls === 'mtls')) return { ...out, error: 'invalid mTLS' };
  }
  const last = (found.filters?.at(-1)?.typed_config ?? {}) as Raw;
  if (!('http_filters' in last)) return { ...out, clusterMatched: typeof last['cluster'] === 'string' ? last['cluster'] : '' };
  if ((tls !== 'plaintext' && socket === undefined) || !http) return { ...out, error: 'protocol error' };
  return route(config, call, tls, last, out);
};

const route = (config: ProxyConfig, call: Call, tls: string, hcm: Raw, out: Outcome): Outcome => {
  const rds = hcm['rds'] as Raw | undefined;
  const rc =
    rds === undefined ? (hcm['route_config'] as RouteConfiguration) : config.routes.find((r) => r.name === rds['route_config_name']);
  if (rc === undefined) return { ...out, error: 'no route configuration' };
  out.routeConfigMatched = rc.name ?? '';
  const vh = virtualHost(rc, call.hostHeader ?? '');
  if (vh === undefined) return { ...out, error: 'no virtual host matched' };
  out.virtualHostMatched = vh.name ?? '';
  if (vh.require_tls === 'ALL' && tls === 'plaintext') return { ...out, error: 'tls required, sending 301' };
  const r = (vh.routes ?? []).find((x) => matchesPath(x, call.path ?? '/'));
  if (r === undefined) return { ...out, error: 'no route matched' };
  return { ...out, routeMatched: r.name ?? '', clusterMatched: r.route?.cluster ?? '' };
};

const findListener = (config: ProxyConfig, call: Call): Listener | undefined => {
  if (call.callMode === 'inbound') return config.listeners.find((l) => l.name === 'virtualInbound');
  const at = (address: string): Listener | undefined =>
    config.listeners.find((l) => l.address?.socket_address?.address === address && l.address.socket_address.port_value === call.port);
  return at(call.address ?? '1.3.3.7') ?? at('0.0.0.0') ?? config.listeners.find((l) => l.name === 'virtualOutbound');
};

const defaultAlpn = (call: Call, tls: string): string => {
  if (tls === 'mtls') return call.protocol === 'http' ? 'istio-http/1.1' : call.protocol === 'http2' ? 'istio-h2' : 'istio';
  if (tls === 'tls') return call.protocol === 'http' ? 'http/1.1' : call.protocol === 'http2' ? 'h2' : '';
  return '';
};

const inspects = (l: Listener, name: string, port: number): boolean => {
  const f = (l.listener_filters ?? []).find((x: ListenerFilter) => x.name === `envoy.filters.listener.${name}`);
  if (f === undefined) return false;
  return f.filter_disabled === undefined || !holds(f.filter_disabled, port);
};

const holds = (p: ListenerFilterChainMatchPredicate, port: number): boolean => {
  if (p.or_match !== undefined) return (p.or_match.rules ?? []).some((r) => holds(r, port));
  if (p.not_match !== undefined) return !holds(p.not_match, port);
  const range = p.destination_port_range;
  return range !== undefined && port >= (range.start ?? 0) && port < (range.end ?? 0);
};

const requiresMtls = (context: Raw): boolean => {
  const common = context['common_tls_context'] as
    | { readonly tls_certificate_sds_secret_configs?: readonly { readonly name?: string }[] }
    | undefined;
  return common?.tls_certificate_sds_secret_configs?.[0]?.name === 'default' && context['require_client_certificate'] === true;
};

interface Facts {
  readonly port: number;
  readonly address: string;
  readonly transport: string;
  readonly alpn: string;
  readonly sni: string;
}

/** Each step keeps the best of the chains that match; if none does, those without the condition. */
const sieve = (
  chains: readonly FilterChain[],
  has: (c: FilterChain) => boolean,
  score: (c: FilterChain) => number,
): readonly FilterChain[] => {
  const scored = chains.filter(has).map((c) => ({ c, s: score(c) }));
  const best = Math.max(-1, ...scored.map((x) => x.s));
  return best >= 0 ? scored.filter((x) => x.s === best).map((x) => x.c) : chains.filter((c) => !has(c));
};

const chooseChain = (l: Listener, f: Facts): FilterChain | string => {
  let chains: readonly FilterChain[] = l.filter_chains ?? [];
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.destination_port ?? 0) !== 0,
    (c) => (c.filter_chain_match?.destination_port === f.port ? 1 : -1),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.prefix_ranges ?? []).length > 0,
    (c) =>
      Math.max(
        -1,
        ...(c.filter_chain_match?.prefix_ranges ?? []).map((r) =>
          inRange(f.address, `${r.address_prefix}/${r.prefix_len}`) ? (r.prefix_len ?? 0) : -1,
        ),
      ),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.server_names ?? []).length > 0,
    (c) => Math.max(-1, ...(c.filter_chain_match?.server_names ?? []).map((n) => sniScore(n, f.sni))),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.transport_protocol ?? '') !== '',
    (c) => (c.filter_chain_match?.transport_protocol === f.transport ? 1 : -1),
  );
  chains = sieve(
    chains,
    (c) => (c.filter_chain_match?.application_protocols ?? []).length > 0,
    (c) => ((c.filter_chain_match?.application_protocols ?? []).includes(f.alpn) ? 1 : -1),
  );
  if (chains.length > 1) return 'multiple filter chains matched';
  return chains[0] ?? l.default_filter_chain ?? 'no filter chains matched';
};

const sniScore = (name: string, sni: string): number => {
  if (name === sni) return 1000;
  return name.startsWith('*.') && sni.endsWith(name.slice(1)) ? name.length : -1;
};

const virtualHost = (rc: RouteConfiguration, hostHeader: string): VirtualHost | undefined => {
  const host = (rc.ignore_port_in_host_matching === true ? hostHeader.replace(/:\d+$/, '') : hostHeader).toLowerCase();
  let best: { readonly vh: VirtualHost; readonly score: number } | undefined;
  for (const vh of rc.virtual_hosts ?? []) {
    for (const d of vh.domains ?? []) {
      const score = domainScore(d, host);
      if (score >= 0 && (best === undefined || score > best.score)) best = { vh, score };
    }
  }
  return best?.vh;
};

const domainScore = (d: string, host: string): number => {
  if (d === host) return 1_000_000;
  if (d === '*') return 0;
  if (d.startsWith('*')) return host.endsWith(d.slice(1)) ? 10_000 + d.length : -1;
  if (d.endsWith('*')) return host.startsWith(d.slice(0, -1)) ? d.length : -1;
  return -1;
};

const matchesPath = (r: Route, path: string): boolean => {
  const m = r.match ?? {};
  if (m.path !== undefined) return m.path === path;
  if (m.safe_regex?.regex !== undefined) return new RegExp(`^(?:${m.safe_regex.regex})$`).test(path);
  return path.startsWith(m.prefix ?? '/');
};
