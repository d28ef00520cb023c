// Which filter chain takes a connection, and when its first bytes are looked at. Decided without sockets.
import {
  type ConnectionFacts,
  compileFilterChains,
  matchFilterChain,
  needsHttpInspector,
  needsTlsInspector,
} from '../../../src/plan/filter-chain.ts';
import type { FilterChainMatch, Listener, ListenerFilterChainMatchPredicate } from '../../../src/xds/gen/types.ts';
import { type FieldCase, listener, only } from '../case.ts';

const plain: ConnectionFacts = {
  destinationIp: '10.0.0.1',
  destinationPort: 80,
  sourceIp: '10.0.9.9',
  sourcePort: 5000,
  directSourceIp: '10.0.9.9',
  transportProtocol: 'raw_buffer',
  sni: '',
  alpn: [],
};
const chain = (filter_chain_match: FilterChainMatch) => ({ filter_chain_match });

const tables: readonly (readonly [chains: Listener, facts: readonly Partial<ConnectionFacts>[], expect: readonly number[]])[] = [
  [{ filter_chains: [chain({ destination_port: 80 }), chain({ destination_port: 81 })] }, [{}, { destinationPort: 82 }], [0, -2]],
  [
    { filter_chains: [chain({ prefix_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] }), chain({})] },
    [{}, { destinationIp: '11.0.0.1' }],
    [0, 1],
  ],
  [{ filter_chains: [chain({ server_names: ['a.test'] }), chain({})] }, [{ sni: 'a.test' }, { sni: 'b.test' }], [0, 1]],
  [{ filter_chains: [chain({ transport_protocol: 'tls' })], default_filter_chain: {} }, [{ transportProtocol: 'tls' }, {}], [0, -1]],
  [{ filter_chains: [chain({ application_protocols: ['h2'] }), chain({})] }, [{ alpn: ['h2'] }, { alpn: ['x'] }], [0, 1]],
  [
    { filter_chains: [chain({ direct_source_prefix_ranges: [{ address_prefix: '10.0.9.9', prefix_len: 32 }] })] },
    [{}, { directSourceIp: '10.0.9.8' }],
    [0, -2],
  ],
  [
    { filter_chains: [chain({ source_prefix_ranges: [{ address_prefix: '10.0.9.9', prefix_len: 32 }] })] },
    [{}, { sourceIp: '10.0.9.8' }],
    [0, -2],
  ],
  [{ filter_chains: [chain({ source_type: 'SAME_IP_OR_LOOPBACK' })] }, [{ sourceIp: '127.0.0.1' }, {}], [0, -2]],
  [{ filter_chains: [chain({ source_ports: [5000] })] }, [{}, { sourcePort: 5001 }], [0, -2]],
];

export const chainMatching: FieldCase = {
  name: 'chain-matching',
  parts: () => tables.map(([config]) => listener(config)),
  observe: (parts) =>
    tables.map(([, facts], i) => {
      const plan = compileFilterChains((parts[i]?.message ?? {}) as Listener);
      return facts.map((more) => matchFilterChain(plan, { ...plain, ...more }));
    }),
  expect: tables.map(([, , expect]) => expect),
};

const inspector = (kind: 'tls' | 'http', filter_disabled: ListenerFilterChainMatchPredicate) => ({
  name: `envoy.filters.listener.${kind}_inspector`,
  typed_config: {
    '@type': `type.googleapis.com/envoy.extensions.filters.listener.${kind}_inspector.v3.${kind === 'tls' ? 'Tls' : 'Http'}Inspector`,
  } as const,
  filter_disabled,
});
const ports = (start: number, end: number): ListenerFilterChainMatchPredicate => ({ destination_port_range: { start, end } });

export const inspectors: FieldCase = {
  name: 'inspectors',
  parts: () => [
    listener({
      listener_filters: [
        inspector('tls', { or_match: { rules: [ports(10, 20), { and_match: { rules: [ports(30, 50), { not_match: ports(35, 40) }] } }] } }),
        inspector('http', { any_match: true }),
      ],
    }),
  ],
  observe: (parts) => {
    const config = only(parts, 'envoy.config.listener.v3.Listener');
    return [[9, 10, 19, 20, 30, 37, 41].map((port) => needsTlsInspector(config, port)), needsHttpInspector(config, 80)];
  },
  expect: [[true, false, false, true, false, true, false], false],
};
