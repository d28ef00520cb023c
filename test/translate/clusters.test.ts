// Clusters and TCP chains: what each block of a DestinationRule and the mesh's defaults put into them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, CommonTlsContext, UpstreamTlsContext } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, clusterOf, configure, lastFilter, type Setting } from './configure.ts';

const entry = (spec: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: [out.example], addresses: [10.96.0.7], resolution: STATIC, ${spec}}
---
`;
const PORTS =
  'ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: grpc, protocol: GRPC}, {number: 70, name: auto, protocol: ""}, {number: 9000, name: tcp, protocol: TCP}]';
const ENDPOINT = 'endpoints: [{address: 10.1.0.1}]';
const rule = (policy: string, more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: out, namespace: shop}
spec: {host: out.example, trafficPolicy: {${policy}}${more}}
---
`;
const built = (policy: string, port = 80, setting: Setting = {}, more = '', se = `${PORTS}, ${ENDPOINT}`): Cluster =>
  clusterOf(configure(entry(se) + rule(policy, more), { node: CLIENT, ...setting }), `outbound|${port}||out.example`);
const optionsOf = (cluster: Cluster): Record<string, unknown> =>
  (cluster.typed_extension_protocol_options?.['envoy.extensions.upstreams.http.v3.HttpProtocolOptions'] ?? {}) as Record<string, unknown>;
const tlsOf = (cluster: Cluster): CommonTlsContext => {
  const typed = cluster.transport_socket?.typed_config as UpstreamTlsContext | undefined;
  assert.ok(typed?.common_tls_context);
  return typed.common_tls_context;
};

test('HTTP/2 upstream: a rule upgrades any port, the client’s own protocol goes before the port’s', () => {
  const wish = (policy: string, port: number): string => {
    const o = optionsOf(built(`connectionPool: {http: {${policy}}}`, port));
    if (o['use_downstream_protocol_config'] !== undefined) return 'client';
    const explicit = o['explicit_http_config'] as { readonly http2_protocol_options?: object } | undefined;
    return explicit?.http2_protocol_options === undefined ? 'http1' : 'http2';
  };
  assert.equal(wish('h2UpgradePolicy: UPGRADE', 80), 'http2');
  assert.equal(wish('h2UpgradePolicy: UPGRADE', 70), 'http2');
  assert.equal(wish('http1MaxPendingRequests: 1', 70), 'client');
  assert.equal(wish('useClientProtocol: true', 90), 'client');
  assert.equal(wish('http1MaxPendingRequests: 1', 90), 'http2');
});

test('errors of the way there are counted at the number that a rule names; a zero is no number', () => {
  const local = (count: number): readonly unknown[] => {
    const o = built(`outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: ${count}}`).outlier_detection;
    return [o?.consecutive_local_origin_failure, o?.enforcing_consecutive_local_origin_failure, o?.enforcing_local_origin_success_rate];
  };
  assert.deepEqual(local(7), [7, 100, 0]);
  assert.deepEqual(local(0), [undefined, undefined, 0]);
});

test('keepalive comes from the mesh, field by field replaced by the rule', () => {
  const mesh = { tcpKeepalive: { probes: 5, time: '100s', interval: '10s' } };
  assert.deepEqual(built('loadBalancer: {simple: RANDOM}', 80, { mesh }).upstream_connection_options?.tcp_keepalive, {
    keepalive_probes: 5,
    keepalive_time: 100,
    keepalive_interval: 10,
  });
  const own = built('connectionPool: {tcp: {tcpKeepalive: {time: 7s}}}', 80, { mesh });
  assert.deepEqual(own.upstream_connection_options?.tcp_keepalive, { keepalive_probes: 5, keepalive_time: 7, keepalive_interval: 10 });
});

test('the mesh’s default policy stands in for blocks that no rule has', () => {
  const mesh = { defaultTrafficPolicy: { connectionPool: { tcp: { maxConnections: 9 } }, outlierDetection: { consecutive5xxErrors: 2 } } };
  const cluster = built('outlierDetection: {consecutive5xxErrors: 6}', 80, { mesh });
  assert.equal(cluster.outlier_detection?.consecutive_5xx, 6);
  assert.equal(cluster.circuit_breakers?.thresholds?.[0]?.max_connections, 9);
});

test('TLS to a server outside: names of the entry, of the rule, none when it is not to be verified', () => {
  const named = `${PORTS}, ${ENDPOINT}, subjectAltNames: [entry.example]`;
  const names = (policy: string): unknown =>
    tlsOf(built(`tls: {mode: SIMPLE, ${policy}}`, 80, {}, '', named)).combined_validation_context?.default_validation_context;
  assert.deepEqual(names('sni: x'), { match_subject_alt_names: [{ exact: 'entry.example' }] });
  assert.deepEqual(names('subjectAltNames: [rule.example]'), { match_subject_alt_names: [{ exact: 'rule.example' }] });
  assert.deepEqual(names('caCertificates: /ca, caCrl: /crl'), {
    match_subject_alt_names: [{ exact: 'entry.example' }],
    crl: { filename: '/crl' },
  });
  const blind = tlsOf(built('tls: {mode: SIMPLE, insecureSkipVerify: true}', 80, {}, '', named));
  assert.deepEqual(blind.validation_context, {});
});

test('a credential of a rule is for gateways, and for sidecars that the rule names', () => {
  const policy = 'tls: {mode: MUTUAL, credentialName: cred}';
  assert.equal(built(policy).transport_socket, undefined);
  const selected = built(policy, 80, {}, ', workloadSelector: {matchLabels: {app: web}}');
  assert.deepEqual(
    tlsOf(selected).tls_certificate_sds_secret_configs?.map((s) => s.name),
    ['kubernetes://cred'],
  );
  assert.equal(tlsOf(selected).combined_validation_context?.validation_context_sds_secret_config?.name, 'kubernetes://cred-cacert');
});

test('the PROXY protocol goes around the socket there is, or a plain one', () => {
  const plain = built('proxyProtocol: {version: V2}').transport_socket?.typed_config as Record<string, unknown>;
  assert.deepEqual(plain['config'], { version: 'V2' });
  assert.equal((plain['transport_socket'] as { name?: string }).name, 'envoy.transport_sockets.raw_buffer');
  const around = built('proxyProtocol: {}, tls: {mode: SIMPLE}').transport_socket?.typed_config as Record<string, unknown>;
  assert.deepEqual(around['config'], { version: 'V1' });
  assert.equal((around['transport_socket'] as { name?: string }).name, 'envoy.transport_sockets.tls');
  const inside = `${PORTS}, location: MESH_INTERNAL, endpoints: [{address: 10.1.0.1, labels: {security.istio.io/tlsMode: istio}}]`;
  const matches = built('proxyProtocol: {}', 80, {}, '', inside).transport_socket_matches ?? [];
  assert.deepEqual(
    matches.map((m) => m.transport_socket?.name),
    ['envoy.transport_sockets.upstream_proxy_protocol', 'envoy.transport_sockets.upstream_proxy_protocol'],
  );
});

test('retry budgets replace the count of retries in flight', () => {
  const budget = (spec: string) => built(`retryBudget: {${spec}}`).circuit_breakers?.thresholds?.[0]?.retry_budget;
  assert.deepEqual(budget('percent: 30, minRetryConcurrency: 7'), { budget_percent: { value: 30 }, min_retry_concurrency: 7 });
  assert.deepEqual(budget('percent: 25'), { budget_percent: { value: 25 }, min_retry_concurrency: 3 });
});

test('TCP chains: limits of the whole service, tunnel of the subset', () => {
  const tcp = (policy: string, more = '', routes = ''): Record<string, unknown> => {
    const config = configure(entry(`${PORTS}, ${ENDPOINT}`) + rule(policy, more) + routes, { node: CLIENT });
    const [chain] = chainsOf(config, '10.96.0.7_9000');
    return lastFilter(chain);
  };
  const limited = tcp(
    'connectionPool: {tcp: {idleTimeout: 30s, maxConnectionDuration: 60s}}, loadBalancer: {consistentHash: {useSourceIp: true}}',
  );
  assert.equal(limited['idle_timeout'], '30s');
  assert.equal(limited['max_downstream_connection_duration'], '60s');
  assert.deepEqual(limited['hash_policy'], [{ source_ip: {} }]);
  const tunnel = tcp('tunnel: {protocol: POST, targetHost: "2001:db8::1", targetPort: 443}');
  assert.deepEqual(tunnel['tunneling_config'], { hostname: '[2001:db8::1]:443', use_post: true });
  const route = (subset: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out, namespace: shop}
spec: {hosts: [out.example], tcp: [{route: [{destination: {host: out.example, subset: ${subset}, port: {number: 9000}}}]}]}
`;
  const subsets =
    ', subsets: [{name: one, trafficPolicy: {tunnel: {targetHost: one.example, targetPort: 1}, loadBalancer: {simple: RANDOM}}}, {name: two}]';
  const top = 'tunnel: {targetHost: all.example, targetPort: 2}, loadBalancer: {consistentHash: {useSourceIp: true}}';
  const one = tcp(top, subsets, route('one'));
  assert.deepEqual(one['tunneling_config'], { hostname: 'one.example:1' });
  assert.equal(one['hash_policy'], undefined);
  const two = tcp(top, subsets, route('two'));
  assert.deepEqual(two['tunneling_config'], { hostname: 'all.example:2' });
  assert.deepEqual(two['hash_policy'], [{ source_ip: {} }]);
});

test('idle TCP connections are closed when the node says so and no rule does', () => {
  const node = { ...CLIENT, metadata: { ...CLIENT.metadata, IDLE_TIMEOUT: '1m30s' } };
  const [chain] = chainsOf(configure(entry(`${PORTS}, ${ENDPOINT}`), { node }), '10.96.0.7_9000');
  assert.equal(lastFilter(chain)['idle_timeout'], '90s');
});

test('localities are weighed wherever a rule sets them and failures are noticed, also for a client that has none', () => {
  const failover = 'loadBalancer: {localityLbSetting: {failover: [{from: north, to: south}]}}';
  assert.equal(built(failover).common_lb_config?.locality_weighted_lb_config, undefined);
  assert.deepEqual(built(`${failover}, outlierDetection: {interval: 1s}`).common_lb_config?.locality_weighted_lb_config, {});
  const spread = 'loadBalancer: {localityLbSetting: {distribute: [{from: "*", to: {north: 100}}]}}';
  assert.deepEqual(built(spread).common_lb_config?.locality_weighted_lb_config, {});
});
