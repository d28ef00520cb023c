// EnvoyFilter on listeners, chains and filters: every operation, every condition of a match.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { patchListeners } from '../../src/translate/patch-listeners.ts';
import type { Listener } from '../../src/xds/gen/types.ts';
import { one, type PatchText, placeOf, setOf } from './patch-fixture.ts';

const HCM = 'envoy.filters.network.http_connection_manager';
const HCM_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const TCP_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const BUFFER = 'type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer';
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';

const hcm = (filters: readonly string[] = ['first', 'router']) => ({
  name: HCM,
  typed_config: { '@type': HCM_TYPE, stat_prefix: 'http', http_filters: filters.map((name) => ({ name })) },
});
const tcp = () => ({ name: 'envoy.filters.network.tcp_proxy', typed_config: { '@type': TCP_TYPE, stat_prefix: 'tcp', cluster: 'c' } });

const listener = (more: Listener = {}): Listener => ({
  name: '0.0.0.0_80',
  address: { socket_address: { address: '0.0.0.0', port_value: 80 } },
  listener_filters: [{ name: 'tls' }, { name: 'http' }],
  filter_chains: [{ name: 'chain', filters: [hcm()] }],
  ...more,
});

const patched = (patch: PatchText, ...listeners: readonly Listener[]): readonly Listener[] =>
  patchListeners(listeners.length === 0 ? [listener()] : listeners, placeOf(one(patch)));

const names = (list: readonly { readonly name?: string | undefined }[] | undefined): string => (list ?? []).map((e) => e.name).join(' ');
const httpNames = (l: Listener | undefined): string =>
  (l?.filter_chains ?? [])
    .flatMap((c) => c.filters ?? [])
    .map((f) => names((f.typed_config as unknown as { http_filters?: readonly { name?: string }[] }).http_filters))
    .join('|');

const toFilter = (name?: string) => ({
  listener: { filterChain: { filter: { name: HCM, ...(name === undefined ? {} : { subFilter: { name } }) } } },
});

test('HTTP filters are placed as each operation says', () => {
  const put = (operation: string, sub?: string): string =>
    httpNames(patched({ applyTo: 'HTTP_FILTER', operation, match: toFilter(sub), value: { name: 'new' } })[0]);
  assert.equal(put('ADD'), 'first router new');
  assert.equal(put('INSERT_FIRST', 'router'), 'new first router');
  assert.equal(put('INSERT_BEFORE'), 'new first router');
  assert.equal(put('INSERT_BEFORE', 'router'), 'first new router');
  assert.equal(put('INSERT_AFTER'), 'first router new');
  assert.equal(put('INSERT_AFTER', 'first'), 'first new router');
  assert.equal(put('INSERT_AFTER', 'absent'), 'first router');
  assert.equal(put('REPLACE', 'first'), 'new router');
  assert.equal(put('REPLACE'), 'first router');
  assert.equal(put('REMOVE', 'first'), 'router');
  assert.equal(put('REMOVE'), 'first router');
});

test('an HTTP filter is merged by name and type, lists appended', () => {
  const before = {
    ...listener(),
    filter_chains: [
      {
        filters: [
          {
            ...hcm([]),
            typed_config: {
              '@type': HCM_TYPE,
              http_filters: [{ name: 'buffer', typed_config: { '@type': BUFFER, max_request_bytes: 1 } }],
            },
          },
        ],
      },
    ],
  };
  const merged = (sub: string | undefined, value: PatchText['value']): unknown => {
    const [after] = patched({ applyTo: 'HTTP_FILTER', operation: 'MERGE', match: toFilter(sub), value: value ?? {} }, before);
    const config = after?.filter_chains?.[0]?.filters?.[0]?.typed_config as { readonly http_filters?: readonly unknown[] } | undefined;
    return config?.http_filters?.[0];
  };
  const wanted = { typed_config: { '@type': BUFFER, max_request_bytes: 9 } };
  assert.deepEqual(merged('buffer', wanted), { name: 'buffer', typed_config: { '@type': BUFFER, max_request_bytes: 9 } });
  assert.deepEqual(merged('buffer', { name: 'renamed' }), { name: 'renamed', typed_config: { '@type': BUFFER, max_request_bytes: 1 } });
  assert.deepEqual(
    merged(undefined, wanted),
    { name: 'buffer', typed_config: { '@type': BUFFER, max_request_bytes: 1 } },
    'no name is no match',
  );
  assert.deepEqual(
    merged('buffer', { typed_config: { '@type': TCP_TYPE, cluster: 'x' } }),
    { name: 'buffer', typed_config: { '@type': BUFFER, max_request_bytes: 1 } },
    'another type changes nothing',
  );
});

test('network filters are placed, replaced and removed', () => {
  const put = (operation: string, filter?: string): string => {
    const match = filter === undefined ? {} : { match: { listener: { filterChain: { filter: { name: filter } } } } };
    const before = listener({ filter_chains: [{ filters: [{ name: 'a' }, { name: 'b' }] }] });
    return names(
      patched({ applyTo: 'NETWORK_FILTER', operation, ...match, value: { name: 'new' } }, before)[0]?.filter_chains?.[0]?.filters,
    );
  };
  assert.equal(put('ADD'), 'a b new');
  assert.equal(put('INSERT_FIRST'), 'new a b');
  assert.equal(put('INSERT_BEFORE', 'b'), 'a new b');
  assert.equal(put('INSERT_BEFORE'), 'new a b');
  assert.equal(put('INSERT_AFTER', 'a'), 'a new b');
  assert.equal(put('INSERT_AFTER'), 'a b new');
  assert.equal(put('REPLACE', 'a'), 'new b');
  assert.equal(put('REPLACE'), 'a b');
  assert.equal(put('REMOVE', 'b'), 'a');
  assert.equal(put('REMOVE'), 'a b');
});

test('a network filter is merged inside its configuration', () => {
  const value = { typed_config: { '@type': TCP_TYPE, idle_timeout: '5s' } };
  const match = { listener: { filterChain: { filter: { name: 'envoy.filters.network.tcp_proxy' } } } };
  const before = listener({ filter_chains: [{ filters: [tcp()] }] });
  const [after] = patched({ applyTo: 'NETWORK_FILTER', operation: 'MERGE', match, value }, before);
  assert.deepEqual(after?.filter_chains?.[0]?.filters?.[0]?.typed_config, {
    '@type': TCP_TYPE,
    stat_prefix: 'tcp',
    cluster: 'c',
    idle_timeout: '5s',
  });
});

test('listener filters are placed, merged, replaced and removed', () => {
  const put = (operation: string, listenerFilter?: string): string => {
    const match = listenerFilter === undefined ? {} : { match: { listener: { listenerFilter } } };
    return names(patched({ applyTo: 'LISTENER_FILTER', operation, ...match, value: { name: 'new' } })[0]?.listener_filters);
  };
  assert.equal(put('ADD'), 'tls http new');
  assert.equal(put('INSERT_FIRST'), 'new tls http');
  assert.equal(put('INSERT_BEFORE', 'http'), 'tls new http');
  assert.equal(put('INSERT_AFTER', 'tls'), 'tls new http');
  assert.equal(put('REPLACE', 'tls'), 'new http');
  assert.equal(put('REMOVE', 'tls'), 'http');
  assert.equal(put('REMOVE'), 'tls http');
});

test('chains are merged, removed and added; a transport socket of the same name is merged inside', () => {
  const chain = { applyTo: 'FILTER_CHAIN', match: { listener: { filterChain: { name: 'chain' } } } };
  const [merged] = patched({ ...chain, operation: 'MERGE', value: { transport_socket_connect_timeout: '3s' } });
  assert.equal(merged?.filter_chains?.[0]?.transport_socket_connect_timeout, '3s');
  assert.deepEqual(patched({ ...chain, operation: 'REMOVE' })[0]?.filter_chains, []);
  const [added] = patched({ applyTo: 'FILTER_CHAIN', operation: 'ADD', value: { name: 'second', filters: [] } });
  assert.equal(names(added?.filter_chains), 'chain second');

  const socket = { name: 'tls', typed_config: { '@type': TLS, require_client_certificate: true } };
  const wanted = { name: 'tls', typed_config: { '@type': TLS, session_timeout: '9s' } };
  const before = listener({ filter_chains: [{ name: 'chain', filters: [tcp()], transport_socket: socket }] });
  const [inside] = patched({ ...chain, operation: 'MERGE', value: { transport_socket: wanted } }, before);
  assert.deepEqual(inside?.filter_chains?.[0]?.transport_socket, {
    name: 'tls',
    typed_config: { '@type': TLS, require_client_certificate: true, session_timeout: '9s' },
  });
  const timeout = { transport_socket_connect_timeout: '3s' };
  const beside = (transport_socket: unknown): unknown =>
    patched({ ...chain, operation: 'MERGE', value: { transport_socket, ...timeout } }, before)[0]?.filter_chains?.[0]
      ?.transport_socket_connect_timeout;
  assert.equal(beside(wanted), undefined, 'nothing else of such a patch is merged');
  assert.equal(beside({ ...wanted, name: 'other' }), '3s');
});

test('the default chain is a chain', () => {
  const before = listener({ default_filter_chain: { name: 'rest', filters: [tcp()] } });
  const match = { listener: { filterChain: { name: 'rest' } } };
  const [removed] = patched({ applyTo: 'FILTER_CHAIN', operation: 'REMOVE', match }, before);
  assert.equal(removed?.default_filter_chain, undefined);
  const [put] = patched({ applyTo: 'NETWORK_FILTER', operation: 'INSERT_FIRST', match, value: { name: 'new' } }, before);
  assert.equal(names(put?.default_filter_chain?.filters), 'new envoy.filters.network.tcp_proxy');
});

test('listeners are merged, removed and added; to insert one is to add it; a name is held by the first', () => {
  const lists = { applyTo: 'LISTENER', match: { listener: { name: '0.0.0.0_80' } } };
  const value = { listener_filters: [{ name: 'more' }] };
  assert.equal(names(patched({ ...lists, operation: 'MERGE', value })[0]?.listener_filters), 'tls http more');
  assert.equal(names(patched({ ...lists, operation: 'MERGE_AND_REPLACE_LIST', value })[0]?.listener_filters), 'more');
  assert.deepEqual(patched({ ...lists, operation: 'REMOVE' }), []);
  for (const operation of ['ADD', 'INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST'])
    assert.equal(names(patched({ applyTo: 'LISTENER', operation, value: { name: 'new' } })), '0.0.0.0_80 new', operation);
  assert.equal(patched({ applyTo: 'LISTENER', operation: 'ADD', value: { name: '0.0.0.0_80' } }).length, 1);
});

test('a listener for both directions is added to the outbound ones', () => {
  const add = (context?: string) =>
    one({ applyTo: 'LISTENER', operation: 'ADD', match: { ...(context === undefined ? {} : { context }) }, value: { name: 'n' } });
  assert.equal(names(patchListeners([], placeOf(add(), 'SIDECAR_INBOUND'))), '');
  assert.equal(names(patchListeners([], placeOf(add(), 'SIDECAR_OUTBOUND'))), 'n');
  assert.equal(names(patchListeners([], placeOf(add('SIDECAR_INBOUND'), 'SIDECAR_INBOUND'))), 'n');
  assert.equal(names(patchListeners([], placeOf(add('SIDECAR_INBOUND'), 'SIDECAR_OUTBOUND'))), '');
});

test('a listener is found by name and by port', () => {
  const hit = (match: Readonly<Record<string, unknown>>): boolean =>
    httpNames(patched({ applyTo: 'HTTP_FILTER', operation: 'ADD', match: { listener: match }, value: { name: 'new' } })[0]).endsWith('new');
  assert.ok(hit({ portNumber: 80 }));
  assert.ok(!hit({ portNumber: 81 }));
  assert.ok(hit({ name: '0.0.0.0_80' }));
  assert.ok(!hit({ name: 'other' }));
});

test('in the listeners of captured connections the port is that of the chain', () => {
  const virtual = listener({
    name: 'virtualInbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15006 } },
    filter_chains: [8080, 9090].map((destination_port) => ({ filter_chain_match: { destination_port }, filters: [hcm()] })),
  });
  const add = { applyTo: 'HTTP_FILTER', operation: 'ADD', value: { name: 'new' } };
  assert.equal(httpNames(patched({ ...add, match: { listener: { portNumber: 8080 } } }, virtual)[0]), 'first router new|first router');
  assert.equal(httpNames(patched({ ...add, match: { listener: { portNumber: 15006 } } }, virtual)[0]), 'first router|first router');
  const whole = { applyTo: 'LISTENER', operation: 'REMOVE', match: { listener: { portNumber: 15006 } } };
  assert.deepEqual(patched(whole, virtual), []);
});

test('a chain is found by each of its conditions', () => {
  const before = listener({
    filter_chains: [
      {
        name: 'tls',
        filter_chain_match: {
          server_names: ['a.com', 'b.com'],
          transport_protocol: 'tls',
          application_protocols: ['h2', 'http/1.1'],
          destination_port: 8443,
        },
        filters: [hcm([])],
      },
      { name: 'plain', filters: [hcm([])] },
    ],
  });
  const hits = (filterChain: Readonly<Record<string, unknown>>): string =>
    httpNames(patched({ applyTo: 'HTTP_FILTER', operation: 'ADD', match: { listener: { filterChain } }, value: { name: 'x' } }, before)[0]);
  assert.equal(hits({}), 'x|x');
  assert.equal(hits({ name: 'plain' }), '|x');
  assert.equal(hits({ sni: 'b.com' }), 'x|');
  assert.equal(hits({ sni: 'c.com' }), '|');
  assert.equal(hits({ transportProtocol: 'tls' }), 'x|');
  assert.equal(hits({ transportProtocol: 'raw_buffer' }), '|');
  assert.equal(hits({ applicationProtocols: 'h2,http/1.1' }), 'x|');
  assert.equal(hits({ applicationProtocols: 'h2,h3' }), '|');
  assert.equal(hits({ destinationPort: 8443 }), 'x|');
  assert.equal(hits({ destinationPort: 80 }), '|');
  assert.equal(hits({ filter: { name: 'another' } }), '|');
});

test('patches apply in order: what one adds the next can find', () => {
  const set = setOf([
    {
      patches: [
        { applyTo: 'HTTP_FILTER', operation: 'INSERT_BEFORE', match: toFilter('router'), value: { name: 'one' } },
        { applyTo: 'HTTP_FILTER', operation: 'INSERT_BEFORE', match: toFilter('one'), value: { name: 'two' } },
        { applyTo: 'HTTP_FILTER', operation: 'REMOVE', match: toFilter('first') },
      ],
    },
  ]);
  assert.equal(httpNames(patchListeners([listener()], placeOf(set))[0]), 'two one router');
});
