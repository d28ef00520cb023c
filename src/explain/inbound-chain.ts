// Which filters of a workload's proxy decide about a request: its translated configuration, its listener for what comes in, and the filter
// chain that takes the connection. The listener is compiled as the data plane compiles it.

import { compileFilterChains, DEFAULT_CHAIN, matchFilterChain } from '../plan/filter-chain.ts';
import { parseIp } from '../plan/ip-range.ts';
import { compilePathPolicy, normalizedPath } from '../plan/path.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { translate } from '../translate/translate.ts';
import type { AnyMessage, FilterChain, HttpConnectionManager, HttpFilter, Listener, Listener_Filter } from '../xds/gen/types.ts';
import type { RequestFacts } from './asked-request.ts';
import type { KnownMesh } from './known-mesh.ts';

export interface DecidingFilter {
  readonly name: string;
  /** Without URL prefix. */
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
}

export interface InboundChain {
  /** `http`: the chain reads requests. */
  readonly kind: 'http' | 'tcp';
  readonly name: string;
  readonly filters: readonly DecidingFilter[];
  /** What the filters are given for a path; undefined: it is refused with 400 before them. */
  readonly path: (path: string) => string | undefined;
  readonly remoteIp: (facts: RequestFacts) => string;
}

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const MESH_ALPN = { http: ['istio-http/1.1', 'istio', 'http/1.1'], tcp: ['istio-peer-exchange', 'istio'] } as const;
const PLAIN_ALPN = { http: ['http/1.1'], tcp: [] } as const;

/** Undefined: no chain takes the connection, which is closed. */
export const inboundChain = (mesh: KnownMesh, node: ProxyNode, facts: RequestFacts): InboundChain | undefined => {
  const { listeners } = translate(mesh.snapshot, node);
  const listener = listenerFor(listeners, node, facts.destinationPort);
  if (listener === undefined) return undefined;
  const chain = chainFor(listener, facts);
  return chain === undefined ? undefined : readChain(chain);
};

const portOf = (l: Listener): number | undefined => l.address?.socket_address?.port_value;

const listenerFor = (listeners: readonly Listener[], node: ProxyNode, port: number): Listener | undefined => {
  if (node.kind === 'router') return listeners.find((l) => portOf(l) === port);
  const inbound = listeners.filter((l) => l.traffic_direction === 'INBOUND');
  return inbound.find((l) => l.name !== 'virtualInbound' && portOf(l) === port) ?? inbound.find((l) => l.name === 'virtualInbound');
};

const chainFor = (listener: Listener, facts: RequestFacts): FilterChain | undefined => {
  const kind = facts.tcp ? 'tcp' : 'http';
  const secure = facts.spiffe !== undefined;
  const at = matchFilterChain(compileFilterChains(listener), {
    destinationIp: facts.destinationIp,
    destinationPort: facts.destinationPort,
    sourceIp: facts.sourceIp,
    sourcePort: 0,
    directSourceIp: facts.sourceIp,
    transportProtocol: secure ? 'tls' : 'raw_buffer',
    sni: facts.sni,
    alpn: secure ? MESH_ALPN[kind] : PLAIN_ALPN[kind],
  });
  return at === DEFAULT_CHAIN ? listener.default_filter_chain : listener.filter_chains?.[at];
};

const typeOf = (config: AnyMessage | undefined): string =>
  config !== undefined && '@type' in config ? config['@type'].slice(config['@type'].lastIndexOf('/') + 1) : '';

const deciding = (list: readonly Pick<HttpFilter & Listener_Filter, 'name' | 'typed_config'>[]): readonly DecidingFilter[] =>
  list.map((f) => ({ name: f.name ?? '', type: typeOf(f.typed_config), config: (f.typed_config ?? {}) as DecidingFilter['config'] }));

const readChain = (chain: FilterChain): InboundChain => {
  const network = deciding(chain.filters ?? []);
  const manager = network.find((f) => f.type === HCM);
  const name = chain.name ?? '';
  if (manager === undefined) {
    return { kind: 'tcp', name, filters: network, path: (path) => path, remoteIp: (facts) => facts.sourceIp };
  }
  const hcm = manager.config as unknown as HttpConnectionManager;
  const before = network.slice(0, network.indexOf(manager));
  const policy = compilePathPolicy(hcm);
  return {
    kind: 'http',
    name,
    filters: [...before, ...deciding(hcm.http_filters ?? [])],
    path: (path) => {
      const normal = normalizedPath(policy, path);
      return typeof normal === 'string' ? normal : normal.kind === 'redirect' ? normal.path : undefined;
    },
    remoteIp: (facts) => forwardedFor(hcm, facts) ?? facts.sourceIp,
  };
};

/** The address that x-forwarded-for says, as far as the connection manager believes it. */
const forwardedFor = (hcm: HttpConnectionManager, facts: RequestFacts): string | undefined => {
  const header = Object.entries(facts.headers).find(([name]) => name.toLowerCase() === 'x-forwarded-for')?.[1];
  const hops = hcm.xff_num_trusted_hops ?? 0;
  const back = hcm.use_remote_address === true ? hops - 1 : hops;
  if (header === undefined || back < 0) return undefined;
  const text =
    header
      .split(',')
      .at(-1 - back)
      ?.trim() ?? '';
  return parseIp(text) === undefined ? undefined : text;
};
