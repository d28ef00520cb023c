// Gateways: TLS modes, what a port carries when servers share it, where credentials come from and who is given them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import type { DownstreamTlsContext, FilterChain } from '../../src/xds/gen/types.ts';
import { CLIENT, chainsOf, clusterOf, configure, GATEWAY, lastFilter, type Setting } from './configure.ts';

const gateway = (servers: string, name = 'gw'): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [${servers}]}
---
`;
const rule = (name: string, spec: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: shop}
spec: {gateways: [istio-system/gw], ${spec}}
---
`;
const ENTRY = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay.shop.svc.cluster.local]
  addresses: [10.96.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}]
  endpoints:
  - {address: 10.1.0.1, labels: {app: pay, security.istio.io/tlsMode: istio}}
  - {address: 10.1.0.2, labels: {app: pay}}
---
`;
const HTTPS = (host: string, tls: string, name = 'https'): string =>
  `{port: {number: 443, name: ${name}, protocol: HTTPS}, hosts: [${host}], tls: {${tls}}}`;
const TO_PAY = rule('all', 'hosts: ["*"], http: [{route: [{destination: {host: pay.shop.svc.cluster.local, port: {number: 80}}}]}]');

const tlsOf = (chain: FilterChain | undefined): DownstreamTlsContext => {
  const typed = chain?.transport_socket?.typed_config;
  assert.ok(typed);
  return typed as DownstreamTlsContext;
};
const only = (servers: string, more = TO_PAY, setting: Setting = {}): DownstreamTlsContext =>
  tlsOf(chainsOf(configure(gateway(servers) + ENTRY + more, setting), '0.0.0.0_443')[0]);

test('each TLS mode asks for the certificates and the client it means', () => {
  const simple = only(HTTPS('a.example', 'mode: SIMPLE, serverCertificate: /c, privateKey: /k'));
  assert.equal(simple.require_client_certificate, false);
  assert.equal(simple.common_tls_context?.combined_validation_context, undefined);
  const optional = only(HTTPS('a.example', 'mode: OPTIONAL_MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca'));
  assert.equal(optional.require_client_certificate, false);
  const roots = optional.common_tls_context?.combined_validation_context;
  assert.equal(roots?.validation_context_sds_secret_config?.name, 'file-root:/ca');
  const mutual = only(HTTPS('a.example', 'mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, subjectAltNames: [x]'));
  assert.equal(mutual.require_client_certificate, true);
  assert.deepEqual(mutual.common_tls_context?.combined_validation_context?.default_validation_context, {
    match_subject_alt_names: [{ exact: 'x' }],
  });
});

test('a gateway that ends the mesh’s own TLS shows its workload certificate and takes any workload of the root', () => {
  const { common_tls_context: common, require_client_certificate: required } = only(HTTPS('a.example', 'mode: ISTIO_MUTUAL'));
  assert.equal(required, true);
  assert.deepEqual(common?.alpn_protocols, ['h2', 'http/1.1']);
  assert.deepEqual(
    common?.tls_certificate_sds_secret_configs?.map((s) => s.name),
    ['default'],
  );
  assert.equal(common?.combined_validation_context?.validation_context_sds_secret_config?.name, 'ROOTCA');
  assert.deepEqual(common?.combined_validation_context?.default_validation_context, {});
  assert.equal(common?.tls_params, undefined);
});

test('versions and cipher suites: the server’s, else the mesh’s; unknown and repeated suites are left out', () => {
  const mesh = { tlsDefaults: { minProtocolVersion: 'TLSV1_2', cipherSuites: ['AES128-SHA'], ecdhCurves: ['P-256'] } };
  const files = 'mode: SIMPLE, serverCertificate: /c, privateKey: /k';
  assert.deepEqual(only(HTTPS('a.example', files), TO_PAY, { mesh }).common_tls_context?.tls_params, {
    tls_minimum_protocol_version: 'TLSv1_2',
    cipher_suites: ['AES128-SHA'],
    ecdh_curves: ['P-256'],
  });
  const own = `${files}, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_3, cipherSuites: [AES256-SHA, nonsense, AES256-SHA]`;
  assert.deepEqual(only(HTTPS('a.example', own)).common_tls_context?.tls_params, {
    tls_minimum_protocol_version: 'TLSv1_3',
    tls_maximum_protocol_version: 'TLSv1_3',
    cipher_suites: ['AES256-SHA'],
  });
});

const SECRET = (name: string, data: string, namespace = 'istio-system'): string =>
  `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: ${namespace}}\nstringData: {${data}}\n---\n`;
const CREDENTIALS =
  gateway(HTTPS('a.example', 'mode: MUTUAL, credentialName: shop')) +
  ENTRY +
  TO_PAY +
  SECRET('shop', 'tls.crt: CERT, tls.key: KEY, ca.crt: ROOT') +
  SECRET('other', 'tls.crt: OTHER, tls.key: OTHER-KEY');
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

test('a credential is asked of the control plane, and given with its roots to the gateway that asks', () => {
  const config = configure(CREDENTIALS, { known: { proven: true } });
  const common = tlsOf(chainsOf(config, '0.0.0.0_443')[0]).common_tls_context;
  assert.deepEqual(
    common?.tls_certificate_sds_secret_configs?.map((s) => [s.name, s.sds_config]),
    [['kubernetes://shop', { ads: {}, resource_api_version: 'V3' }]],
  );
  const [pair, roots, ...rest] = config.secrets ?? [];
  assert.deepEqual(rest, []);
  assert.equal(pair?.name, 'kubernetes://shop');
  assert.equal(text(pair?.tls_certificate?.private_key?.inline_bytes), 'KEY');
  assert.equal(roots?.name, 'kubernetes://shop-cacert');
  assert.equal(text(roots?.validation_context?.trusted_ca?.inline_bytes), 'ROOT');
});

test('nobody else is given a credential: not an unproven node, not another namespace, not a sidecar', () => {
  assert.deepEqual(configure(CREDENTIALS).secrets, []);
  assert.deepEqual(configure(CREDENTIALS, { known: { proven: true, namespace: 'shop' } }).secrets, []);
  assert.deepEqual(configure(CREDENTIALS, { node: CLIENT, known: { proven: true } }).secrets, []);
  const crossing =
    CREDENTIALS.replace('credentialName: shop', 'credentialName: "kubernetes://shop/stolen"') + SECRET('stolen', 'cert: C, key: K', 'shop');
  assert.deepEqual(configure(crossing, { known: { proven: true } }).secrets, []);
});

test('the other way of naming a Secret’s entries is read, and roots in a Secret of their own', () => {
  const yaml =
    gateway(HTTPS('a.example', 'mode: MUTUAL, credentialName: shop')) +
    ENTRY +
    TO_PAY +
    SECRET('shop', 'cert: CERT, key: KEY, cacert: OLD') +
    SECRET('shop-cacert', 'cacert: ROOT, crl: REVOKED');
  const [pair, roots] = configure(yaml, { known: { proven: true } }).secrets ?? [];
  assert.equal(text(pair?.tls_certificate?.certificate_chain?.inline_bytes), 'CERT');
  assert.equal(text(roots?.validation_context?.trusted_ca?.inline_bytes), 'ROOT');
  assert.equal(text(roots?.validation_context?.crl?.inline_bytes), 'REVOKED');
});

test('several certificates and roots of another name', () => {
  const common = only(HTTPS('a.example', 'mode: MUTUAL, credentialNames: [rsa, ecdsa], caCertCredentialName: clients')).common_tls_context;
  assert.deepEqual(
    common?.tls_certificate_sds_secret_configs?.map((s) => s.name),
    ['kubernetes://rsa', 'kubernetes://ecdsa'],
  );
  assert.equal(common?.combined_validation_context?.validation_context_sds_secret_config?.name, 'kubernetes://clients-cacert');
});

test('servers of one port: TLS joins TLS by name, protocols stand together, a taken name loses', () => {
  const files = 'mode: SIMPLE, serverCertificate: /c, privateKey: /k';
  const servers = [
    HTTPS('a.example', files, 'one'),
    `{port: {number: 443, name: pass, protocol: TLS}, hosts: [p.example], tls: {mode: PASSTHROUGH}}`,
    HTTPS('b.example', files, 'two'),
    HTTPS('a.example', files, 'three'),
  ].join(', ');
  const sni = rule(
    'sni',
    'hosts: [p.example], tls: [{match: [{sniHosts: [p.example]}], route: [{destination: {host: pay.shop.svc.cluster.local, port: {number: 9000}}}]}]',
  );
  const config = configure(gateway(servers) + ENTRY + TO_PAY + sni);
  const chains = chainsOf(config, '0.0.0.0_443');
  assert.deepEqual(
    chains.map((ch) => ch.filter_chain_match?.server_names),
    [['a.example'], ['b.example'], ['p.example']],
  );
  assert.equal(chains[2]?.transport_socket, undefined);
  assert.equal(lastFilter(chains[2])['cluster'], 'outbound|9000||pay.shop.svc.cluster.local');
  assert.deepEqual(config.routes.map((r) => r.name).sort(), ['https.443.one.gw.istio-system', 'https.443.two.gw.istio-system']);
});

test('a listener stands on the target of the Service’s port, unless a label says that servers name listening ports', () => {
  const names = (labels: string): readonly (string | undefined)[] => {
    const service = `
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: istio-system, labels: {${labels}}}
spec: {clusterIP: 10.96.0.9, selector: {istio: ingressgateway}, ports: [{name: https, port: 443, targetPort: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: c}]}
status: {podIP: 10.244.0.9, phase: Running}
---`;
    const server = HTTPS('a.example', 'mode: SIMPLE, serverCertificate: /c, privateKey: /k');
    const config = configure(service + gateway(server) + ENTRY + TO_PAY);
    return [config.listeners[0]?.name, config.routes[0]?.name];
  };
  // HTTPS servers keep their own port in the name of their routes.
  assert.deepEqual(names(''), ['0.0.0.0_8443', 'https.443.https.gw.istio-system']);
  assert.deepEqual(names('experimental.istio.io/disable-gateway-port-translation: "true"'), [
    '0.0.0.0_443',
    'https.443.https.gw.istio-system',
  ]);
});

test('a server’s names stand sorted, each once', () => {
  const server = HTTPS('shop/b.example, a.example, bank/b.example', 'mode: SIMPLE, serverCertificate: /c, privateKey: /k');
  const [chain] = chainsOf(configure(gateway(server) + ENTRY + TO_PAY), '0.0.0.0_443');
  assert.deepEqual(chain?.filter_chain_match?.server_names, ['a.example', 'b.example']);
});

test('servers at addresses of their own have routes of their own', () => {
  const bound = (bind: string): string =>
    `{port: {number: 443, name: https, protocol: HTTPS}, bind: ${bind}, hosts: [a.example], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}`;
  const config = configure(gateway(bound('10.0.0.1')) + gateway(bound('10.0.0.2'), 'other') + ENTRY + TO_PAY);
  assert.deepEqual(config.routes.map((r) => r.name).sort(), [
    'https.443.https.gw.istio-system.10.0.0.1',
    'https.443.https.other.istio-system.10.0.0.2',
  ]);
});

test('a server name that one rule took is not given to the next', () => {
  const tls = (host: string): string =>
    `hosts: [p.example], tls: [{match: [{sniHosts: [p.example]}], route: [{destination: {host: ${host}, port: {number: 9000}}}]}]`;
  const server = '{port: {number: 443, name: pass, protocol: TLS}, hosts: [p.example], tls: {mode: PASSTHROUGH}}';
  const yaml = gateway(server) + ENTRY + rule('a', tls('pay.shop.svc.cluster.local')) + rule('b', tls('other.example'));
  assert.deepEqual(
    chainsOf(configure(yaml), '0.0.0.0_443').map((ch) => lastFilter(ch)['cluster']),
    ['outbound|9000||pay.shop.svc.cluster.local'],
  );
});

test('TLS that is ended before TCP goes by tcp rules, whoever the client is', () => {
  const server =
    '{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.example], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}';
  const tcp = rule(
    'tcp',
    'hosts: [a.example], tcp: [{match: [{port: 443, sourceLabels: {app: nobody}}], route: [{destination: {host: pay.shop.svc.cluster.local, port: {number: 9000}}}]}]',
  );
  const [chain] = chainsOf(configure(gateway(server) + ENTRY + tcp), '0.0.0.0_443');
  assert.equal(lastFilter(chain)['cluster'], 'outbound|9000||pay.shop.svc.cluster.local');
  assert.ok(chain?.transport_socket);
});

test('AUTO_PASSTHROUGH leads by server name to workloads that take mutual TLS, and to nothing outside the mesh', () => {
  const server = '{port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}';
  const outside =
    'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\nspec: {hosts: [out.local], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n';
  const config = configure(gateway(server) + ENTRY + outside);
  const name = 'outbound_.80_._.pay.shop.svc.cluster.local';
  assert.deepEqual(
    chainsOf(config, '0.0.0.0_15443').map((ch) => ch.filter_chain_match?.server_names?.[0]),
    [name, 'outbound_.9000_._.pay.shop.svc.cluster.local'],
  );
  assert.deepEqual(chainsOf(config, '0.0.0.0_15443')[0]?.filter_chain_match?.application_protocols?.slice(0, 2), [
    'istio',
    'istio-peer-exchange',
  ]);
  assert.equal(clusterOf(config, name).transport_socket_matches, undefined);
  const endpoints = config.endpoints.find((e) => e.cluster_name === name)?.endpoints ?? [];
  assert.deepEqual(
    endpoints.flatMap((l) => l.lb_endpoints ?? []).map((e) => e.endpoint?.address?.socket_address?.address),
    ['10.1.0.1'],
  );
});

test('what stands before the gateway: the PROXY protocol, and how client certificates are told on', () => {
  const mesh = {
    defaultConfig: { gatewayTopology: { proxyProtocol: {}, forwardClientCertDetails: 'FORWARD_ONLY', numTrustedProxies: 2 } },
  };
  const config = configure(gateway('{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}') + ENTRY + TO_PAY, { mesh });
  const [listener] = config.listeners;
  assert.deepEqual(
    listener?.listener_filters?.map((f) => f.name),
    ['envoy.filters.listener.proxy_protocol'],
  );
  const manager = lastFilter(listener?.filter_chains?.[0]);
  assert.equal(manager['forward_client_cert_details'], 'FORWARD_ONLY');
  assert.equal(manager['set_current_client_cert_details'], undefined);
  assert.equal(manager['xff_num_trusted_hops'], 2);
});

test('hosts with the same routes are one virtual host; what redirects stays apart', () => {
  const servers = [
    '{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example, b.example, "*.c.example"]}',
    '{port: {number: 80, name: redirect, protocol: HTTP}, hosts: [r.example, s.example], tls: {httpsRedirect: true}}',
  ].join(', ');
  const route = 'http: [{route: [{destination: {host: pay.shop.svc.cluster.local, port: {number: 80}}}]}]';
  const config = configure(gateway(servers) + ENTRY + rule('all', `hosts: [b.example, a.example, "*.c.example"], ${route}`));
  assert.deepEqual(
    config.routes[0]?.virtual_hosts?.map((v) => [v.name, v.domains, v.routes?.length ?? 0, v.require_tls]),
    [
      ['a.example:80', ['a.example', 'b.example', '*.c.example'], 1, undefined],
      ['r.example:80', ['r.example', 's.example'], 0, 'ALL'],
    ],
  );
});

test('a gateway that may not stand on low ports is not asked to', () => {
  const servers = [80, 8080].map((p) => `{port: {number: ${p}, name: http-${p}, protocol: HTTP}, hosts: ["*"]}`).join(', ');
  const node = { ...GATEWAY, metadata: { ...GATEWAY.metadata, UNPRIVILEGED_POD: 'true' } };
  assert.deepEqual(
    configure(gateway(servers) + ENTRY + TO_PAY, { node }).listeners.map((l) => l.name),
    ['0.0.0.0_8080'],
  );
});

test('a credential that no Secret has is told with file and line, and never what a Secret holds', () => {
  const yaml = gateway(
    `${HTTPS('a.example', 'mode: MUTUAL, credentialName: shop')}, ${HTTPS('b.example', 'mode: SIMPLE, credentialName: none', 'two')}`,
  );
  const said = (secrets: string): readonly string[] => {
    const { resources } = parseDocuments('gw.yaml', yaml + secrets);
    const mesh = parseMeshConfig('m.yaml', '{}');
    assert.ok(mesh.ok);
    const { problems } = buildSnapshot({ resources, instances: [], meshConfig: mesh.value.config });
    assert.ok(!JSON.stringify(problems).includes('PRIVATE'));
    return problems.filter((p) => p.code === 'CREDENTIAL_UNKNOWN').map((p) => `${p.file}:${p.line} ${p.path}`);
  };
  const none = 'gw.yaml:5 spec.servers[1].tls.credentialName';
  const own = 'gw.yaml:5 spec.servers[0].tls.credentialName';
  assert.deepEqual(said(''), [own, own, none]);
  assert.deepEqual(said(SECRET('shop', 'tls.crt: C, tls.key: PRIVATE')), [own, none]);
  assert.deepEqual(said(SECRET('shop', 'tls.crt: C, tls.key: PRIVATE, ca.crt: R')), [none]);
});
