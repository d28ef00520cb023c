// Which listener, filter chain, virtual host and route a call reaches: the listener after the rules in corpora/README.md, the rest by
// the decisions that this proxy compiles.

import type { ProxyConfig } from '../../../src/translate/translate.ts';
import type { Listener, ListenerFilter, ListenerFilterChainMatchPredicate, RouteConfiguration } from '../../../src/xds/gen/types.ts';
import { chooseChain } from './filter-chain-choice.ts';
import { chooseRoute } from './route-choice.ts';

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
  /** The first certificate of a chain that requires the client's. */
  readonly mtlsSecretConfigName?: string;
  readonly expectDownstreamTls?: { readonly firstSdsSecretName: string; readonly requireClientCertificate: boolean };
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
  let transport: 'tls' | 'raw_buffer' = tls === 'plaintext' ? 'raw_buffer' : 'tls';
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
    const asked = requiresMtls(socket, call.mtlsSecretConfigName ?? 'default');
    if (asked !== (tls === 'mtls')) return { ...out, error: 'invalid mTLS' };
    if (call.expectDownstreamTls !== undefined && !isAsExpected(socket, call.expectDownstreamTls)) return { ...out, error: 'other TLS' };
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
  const found = chooseRoute(rc, {
    host: call.hostHeader ?? '',
    path: call.path ?? '/',
    scheme: tls === 'plaintext' ? 'http' : 'https',
    headers: Object.entries(call.headers ?? {}).flatMap(([name, values]) =>
      [values].flat().map((value): [string, string] => [name, value]),
    ),
  });
  if (found === undefined) return { ...out, error: 'no virtual host matched' };
  out.virtualHostMatched = found.virtualHost;
  if (found.route === undefined) return { ...out, error: 'no route matched' };
  if (found.route.redirectsToHttps) return { ...out, error: 'tls required, sending 301' };
  return { ...out, routeMatched: found.route.name, clusterMatched: found.route.cluster };
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

const isAsExpected = (context: Raw, wanted: NonNullable<Call['expectDownstreamTls']>): boolean =>
  firstCertificate(context) === wanted.firstSdsSecretName &&
  (context['require_client_certificate'] === true) === wanted.requireClientCertificate;

const requiresMtls = (context: Raw, secret: string): boolean =>
  firstCertificate(context) === secret && context['require_client_certificate'] === true;

const firstCertificate = (context: Raw): string | undefined => {
  const common = context['common_tls_context'] as
    | { readonly tls_certificate_sds_secret_configs?: readonly { readonly name?: string }[] }
    | undefined;
  return common?.tls_certificate_sds_secret_configs?.[0]?.name;
};
