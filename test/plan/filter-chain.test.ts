// Filter chain matching and the need for inspectors.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type ConnectionFacts,
  compileFilterChains,
  matchFilterChain,
  needsHttpInspector,
  needsTlsInspector,
} from '../../src/plan/filter-chain.ts';
import { parseIp } from '../../src/plan/ip-range.ts';
import { normalizedPath } from '../../src/plan/path.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { FilterChainMatch, Listener } from '../../src/xds/gen/types.ts';

const conn = (more: Partial<ConnectionFacts> = {}): ConnectionFacts => ({
  destinationIp: '10.0.0.1',
  destinationPort: 80,
  sourceIp: '10.0.9.9',
  sourcePort: 5000,
  directSourceIp: '10.0.9.9',
  transportProtocol: 'raw_buffer',
  sni: '',
  alpn: [],
  ...more,
});
const pick = (matches: readonly FilterChainMatch[], facts: Partial<ConnectionFacts> = {}, fallback = false): number =>
  matchFilterChain(
    compileFilterChains({
      filter_chains: matches.map((filter_chain_match) => ({ filter_chain_match })),
      ...(fallback ? { default_filter_chain: {} } : {}),
    }),
    conn(facts),
  );

describe('order of criteria', () => {
  test('what Istio sends inbound: port, TLS, ALPN', () => {
    const chains: FilterChainMatch[] = [
      { destination_port: 15006 },
      { transport_protocol: 'tls', application_protocols: ['istio-http/1.1', 'istio-h2'] },
      { transport_protocol: 'raw_buffer', application_protocols: ['http/1.1', 'h2c'] },
      { transport_protocol: 'tls', application_protocols: ['istio', 'istio-peer-exchange'] },
      { transport_protocol: 'raw_buffer' },
      { transport_protocol: 'tls' },
      { destination_port: 8080, transport_protocol: 'tls', application_protocols: ['istio'] },
      { destination_port: 8080, transport_protocol: 'raw_buffer', application_protocols: ['http/1.1'] },
    ];
    const tls = (alpn: string[], destinationPort = 9) => pick(chains, { transportProtocol: 'tls', alpn, destinationPort });
    assert.equal(pick(chains, { destinationPort: 15006 }), 0);
    assert.equal(tls(['istio-http/1.1']), 1);
    assert.equal(pick(chains, { alpn: ['http/1.1'] }), 2);
    assert.equal(tls(['istio-peer-exchange', 'istio']), 3);
    assert.equal(pick(chains), 4);
    assert.equal(tls(['h2']), 5);
    assert.equal(tls(['istio'], 8080), 6);
    assert.equal(tls(['h2'], 8080), -2, 'a port that has chains does not fall back to chains without port');
    assert.equal(pick(chains, { destinationPort: 8080, alpn: ['http/1.1'] }), 7);
    assert.equal(pick(chains, { destinationPort: 8080 }, true), -1);
  });

  test('server names: exact, then the longest wildcard, then any', () => {
    const chains: FilterChainMatch[] = [
      { server_names: ['a.example.com'] },
      { server_names: ['*.example.com'] },
      { server_names: ['*.com'] },
      { transport_protocol: 'tls' },
      { server_names: ['*.b.example.com'], transport_protocol: 'raw_buffer' },
    ];
    const sni = (name: string) => pick(chains, { transportProtocol: 'tls', sni: name });
    assert.deepEqual(['a.example.com', 'x.example.com', 'x.y.example.com', 'x.com', 'x.org', ''].map(sni), [0, 1, 1, 2, 3, 3]);
    assert.equal(sni('x.b.example.com'), -2, 'no way back from the most specific name');
  });

  test('ranges: longest prefix, IPv6, no way back', () => {
    const of = (address_prefix: string, prefix_len: number) => ({ address_prefix, prefix_len });
    const chains: FilterChainMatch[] = [
      { prefix_ranges: [of('10.0.0.0', 8)] },
      { prefix_ranges: [of('10.0.0.0', 24)], source_ports: [7] },
      { prefix_ranges: [of('fd00::', 16)] },
      {},
    ];
    assert.equal(pick(chains, { destinationIp: '10.1.0.1' }), 0);
    assert.equal(pick(chains, { sourcePort: 7 }), 1);
    assert.equal(pick(chains), -2);
    assert.equal(pick(chains, { destinationIp: 'fd00::1' }), 2);
    assert.equal(pick(chains, { destinationIp: '::ffff:10.9.9.9' }), 0);
    assert.equal(pick(chains, { destinationIp: '192.168.0.1' }), 3);
  });

  test('source type, range and port', () => {
    const chains: FilterChainMatch[] = [
      { source_type: 'SAME_IP_OR_LOOPBACK' },
      { source_type: 'EXTERNAL', source_prefix_ranges: [{ address_prefix: '10.0.9.0', prefix_len: 24 }] },
      { source_type: 'EXTERNAL', source_ports: [5000, 5001] },
    ];
    assert.equal(pick(chains, { sourceIp: '127.0.0.1' }), 0);
    assert.equal(pick(chains, { sourceIp: '10.0.0.1' }), 0);
    assert.equal(pick(chains), 1);
    assert.equal(pick(chains, { sourceIp: '10.1.1.1', sourcePort: 5001 }), 2);
    assert.equal(pick(chains, { sourceIp: '10.1.1.1', sourcePort: 5002 }), -2);
    const direct: FilterChainMatch[] = [
      { direct_source_prefix_ranges: [{ address_prefix: '10.2.0.0', prefix_len: 16 }] },
      { source_type: 'ANY' },
    ];
    assert.equal(pick(direct, { directSourceIp: '10.2.3.4' }), 0);
    assert.equal(pick(direct), 1);
  });

  test('no chain, one chain, default', () => {
    assert.equal(pick([]), -2);
    assert.equal(pick([], {}, true), -1);
    assert.equal(pick([{}]), 0);
  });

  test('refusals', () => {
    const refused = (matches: FilterChainMatch[]) => assert.throws(() => pick(matches), PlanError);
    refused([{ destination_port: 1 }, { destination_port: 1 }]);
    refused([{ application_protocols: ['a', 'b'] }, { application_protocols: ['b'] }]);
    refused([
      { prefix_ranges: [{ address_prefix: '10.0.0.1', prefix_len: 8 }] },
      { prefix_ranges: [{ address_prefix: '10.0.0.2', prefix_len: 8 }] },
    ]);
    refused([{ server_names: ['a.*.com'] }]);
    refused([{ prefix_ranges: [{ address_prefix: 'x' }] }]);
    refused([{ address_suffix: '1' }]);
    assert.throws(() => compileFilterChains({ filter_chain_matcher: {} }), PlanError);
  });
});

test('inspectors', () => {
  const type = 'type.googleapis.com/envoy.extensions.filters.listener.';
  const listener: Listener = {
    listener_filters: [
      { name: 'tls', typed_config: { '@type': `${type}tls_inspector.v3.TlsInspector` } },
      {
        name: 'http',
        typed_config: { '@type': `${type}http_inspector.v3.HttpInspector` },
        filter_disabled: {
          or_match: {
            rules: [{ destination_port_range: { start: 80, end: 81 } }, { destination_port_range: { start: 15006, end: 15007 } }],
          },
        },
      },
    ],
  };
  assert.ok(needsTlsInspector(listener, 80));
  assert.deepEqual(
    [79, 80, 81, 15006].map((p) => needsHttpInspector(listener, p)),
    [true, false, true, false],
  );
  assert.ok(!needsTlsInspector({}, 80) && !needsHttpInspector({}, 80));
  assert.ok(needsTlsInspector({ filter_chains: [{ filter_chain_match: { server_names: ['a'] } }] }, 80));
  assert.ok(
    !needsTlsInspector(
      { filter_chains: [{ filter_chain_match: { transport_protocol: 'raw_buffer', application_protocols: ['h2c'] } }] },
      80,
    ),
  );
});

test('addresses', () => {
  assert.deepEqual([...(parseIp('::1') ?? [])], [...Array(15).fill(0), 1]);
  assert.deepEqual([...(parseIp('::ffff:1.2.3.4') ?? [])], [1, 2, 3, 4]);
  assert.equal(parseIp('fe80::1%eth0')?.length, 16);
  for (const bad of ['', '1.2.3', '256.0.0.1', '1:2:3', ':::', '1::2::3', 'g::', '1:2:3:4:5:6:7:8:9'])
    assert.equal(parseIp(bad), undefined, bad);
});

test('path normalisation', () => {
  const base = { normalize: true, mergeSlashes: false, escapedSlashes: 'keep' } as const;
  const cases: [string, string][] = [
    ['/a/b', '/a/b'],
    ['/a/./b', '/a/b'],
    ['/a/../b?x=/../', '/b?x=/../'],
    ['/../../a', '/a'],
    ['/a/..', '/'],
    ['/a/.', '/a/'],
    ['/%61%2e%2E/b', '/a../b'],
    ['/a/%2e%2e/b', '/b'],
    ['/a\\\\..\\\\b', '/b'],
    ['/a//b', '/a//b'],
    ['/a%2Fb', '/a%2Fb'],
    ['/%zz', '/%zz'],
    ['*', '*'],
  ];
  for (const [from, to] of cases) assert.equal(normalizedPath(base, from.replaceAll('\\\\', '\\')), to, from);
  assert.deepEqual(normalizedPath(base, '/a%00'), { kind: 'reject' });
  assert.deepEqual(normalizedPath(base, '/a#b'), { kind: 'reject' });
  assert.equal(normalizedPath({ ...base, mergeSlashes: true }, '//a///b?c//d'), '/a/b?c//d');
  assert.deepEqual(normalizedPath({ ...base, escapedSlashes: 'reject' }, '/a%2Fb'), { kind: 'reject' });
  assert.equal(normalizedPath({ ...base, escapedSlashes: 'unescape-forward' }, '/a%2F..%5cb?%2F'), '/b?%2F');
  assert.deepEqual(normalizedPath({ ...base, escapedSlashes: 'unescape-redirect' }, '/a%2Fb'), { kind: 'redirect', path: '/a/b' });
  assert.equal(normalizedPath({ normalize: false, mergeSlashes: false, escapedSlashes: 'keep' }, '/a/../b'), '/a/../b');
});
