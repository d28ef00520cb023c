// What ProxyConfig and the mesh's own settings change in a proxy: headers, the versions of mutual TLS, tries towards one's own application.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxySetting } from '../../src/translate/proxy-settings.ts';
import type { HttpConnectionManager, Node } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, clusterOf, configure, GATEWAY, lastFilter, type Setting } from './configure.ts';
import { meshConfigOf } from './mesh-fixture.ts';
import { nodeOf } from './patch-fixture.ts';

const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
status: {podIP: 10.244.0.1, phase: Running}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{rewrite: {authority: other}, route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
`;
const CLUSTER = 'outbound|80||web.shop.svc.cluster.local';

const inbound = (setting: Setting): HttpConnectionManager => {
  const chain = chainsOf(configure(SERVICES, { node: CLIENT, ...setting }), 'virtualInbound').find((c) => c.name === '0.0.0.0_8080');
  return lastFilter(chain) as HttpConnectionManager;
};
const ofGateway = (setting: Setting): HttpConnectionManager =>
  lastFilter(chainsOf(configure(SERVICES, { node: GATEWAY, ...setting }), '0.0.0.0_80')[0]) as HttpConnectionManager;
const headers = (proxyHeaders: Record<string, unknown>): Setting => ({ mesh: { defaultConfig: { proxyHeaders } } });
const routerOf = (hcm: HttpConnectionManager) => hcm.http_filters?.at(-1)?.typed_config as Record<string, unknown> | undefined;

test('headers that a proxy adds by itself are switched by the mesh', () => {
  const plain = inbound({});
  assert.equal(plain.server_name, 'istio-envoy');
  assert.equal(plain.forward_client_cert_details, 'APPEND_FORWARD');
  const off = headers({
    server: { disabled: true },
    requestId: { disabled: true },
    attemptCount: { disabled: true },
    envoyDebugHeaders: { disabled: true },
    forwardedClientCert: 'SANITIZE',
    setCurrentClientCertDetails: { cert: true },
    xForwardedPort: { enabled: true },
    xForwardedHost: { enabled: true },
  });
  const quiet = inbound(off);
  assert.deepEqual([quiet.server_name, quiet.server_header_transformation], [undefined, 'PASS_THROUGH']);
  assert.equal(quiet.generate_request_id, false);
  assert.equal(quiet.append_x_forwarded_port, true);
  assert.equal(quiet.forward_client_cert_details, 'SANITIZE');
  assert.deepEqual(quiet.set_current_client_cert_details, { cert: true });
  assert.equal(routerOf(quiet)?.['suppress_envoy_headers'], true);
  assert.equal(routerOf(plain)?.['suppress_envoy_headers'], undefined);
  const [before, after] = [{}, off].map((s) => configure(SERVICES, { node: CLIENT, ...s }).routes.find((r) => r.name === '80'));
  assert.ok(before?.virtual_hosts?.every((h) => h.include_request_attempt_count === true));
  assert.ok(after?.virtual_hosts?.every((h) => h.include_request_attempt_count === undefined));
  const rewritten = after?.virtual_hosts?.find((h) => h.name?.startsWith('web.'))?.routes?.[0]?.route;
  assert.equal(rewritten?.append_x_forwarded_host, true);
});

test('gateways pass on who called as their topology says, and are called as the mesh says', () => {
  const named = ofGateway(headers({ server: { value: 'shop' }, forwardedClientCert: 'SANITIZE' }));
  assert.equal(named.server_name, 'shop');
  assert.equal(named.forward_client_cert_details, 'SANITIZE_SET');
});

test('a case of names is kept where the proxy knows how', () => {
  const kept = inbound(headers({ preserveHttp1HeaderCase: true }));
  assert.equal(kept.http_protocol_options?.header_key_format?.stateful_formatter?.name, 'preserve_case');
  const cluster = clusterOf(configure(SERVICES, { node: CLIENT, ...headers({ preserveHttp1HeaderCase: true }) }), CLUSTER);
  assert.match(JSON.stringify(cluster.typed_extension_protocol_options), /preserve_case/);
  const hcm = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  const own: Node = { ...CLIENT, extensions: [{ name: 'hcm', type_urls: [hcm] }] };
  assert.equal(inbound({ ...headers({ preserveHttp1HeaderCase: true }), node: own }).http_protocol_options, undefined);
});

test('what a proxy was started with counts more than what the mesh says', () => {
  const mesh = meshConfigOf({ defaultConfig: { proxyHeaders: { server: { value: 'mesh' } } } });
  const node = nodeOf({ metadata: { PROXY_CONFIG: { proxyHeaders: { server: { value: 'own' } } } } });
  assert.equal(proxySetting(mesh, node, 'proxyHeaders')?.server?.value, 'own');
  assert.equal(proxySetting(mesh, nodeOf({}), 'proxyHeaders')?.server?.value, 'mesh');
  assert.equal(
    proxySetting(mesh, nodeOf({ metadata: { PROXY_CONFIG: { proxyHeaders: 'wrong' } } }), 'proxyHeaders')?.server?.value,
    'mesh',
  );
});

test('only those in the mesh are told who calls, where the mesh wants it so', () => {
  const type = 'io.istio.http.peer_metadata.Config';
  const node: Node = { ...CLIENT, extensions: [{ name: 'envoy.filters.http.peer_metadata', type_urls: [type] }] };
  const filters = (setting: Setting) =>
    JSON.stringify(configure(SERVICES, { node, ...setting }).listeners.find((l) => l.name === '0.0.0.0_80'));
  assert.match(filters(headers({ metadataExchangeHeaders: { mode: 'IN_MESH' } })), /"skip_external_clusters":true/);
  assert.doesNotMatch(filters({}), /skip_external_clusters/);
});

test('mutual TLS between workloads is as new as the mesh asks', () => {
  const params = (mesh: Record<string, unknown>) => {
    const chain = chainsOf(configure(SERVICES, { node: CLIENT, mesh }), 'virtualInbound').find((c) => c.transport_socket !== undefined);
    const typed = chain?.transport_socket?.typed_config as { common_tls_context?: { tls_params?: Record<string, unknown> } } | undefined;
    return typed?.common_tls_context?.tls_params ?? {};
  };
  assert.equal(params({})['tls_minimum_protocol_version'], 'TLSv1_2');
  const strict = params({ meshMTLS: { minProtocolVersion: 'TLSV1_3', cipherSuites: ['AES256-GCM-SHA384'] } });
  assert.equal(strict['tls_minimum_protocol_version'], 'TLSv1_3');
  assert.deepEqual(strict['cipher_suites'], ['AES256-GCM-SHA384']);
});

test('tries towards the own application follow the mesh', () => {
  const retry = (defaultInboundHttpRetryPolicy?: Record<string, unknown>) =>
    inbound({ mesh: defaultInboundHttpRetryPolicy === undefined ? {} : { defaultInboundHttpRetryPolicy } }).route_config?.virtual_hosts?.[0]
      ?.routes?.[0]?.route?.retry_policy;
  assert.deepEqual(retry(), { retry_on: 'reset-before-request', num_retries: 2 });
  assert.equal(retry({ attempts: 0 }), undefined);
  assert.deepEqual(retry({ attempts: 1, retryOn: 'connect-failure,503', backoff: '1s' }), {
    retry_on: 'connect-failure,retriable-status-codes',
    num_retries: 1,
    retriable_status_codes: [503],
    retry_back_off: { base_interval: '1s' },
  });
});
