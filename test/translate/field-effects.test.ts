// Fields that few write, each with what a proxy is told because of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { CLIENT, chainsOf, clusterOf, configure, GATEWAY, type Setting } from './configure.ts';
import { meshConfigOf } from './mesh-fixture.ts';

const entry = (endpoints: string, more = ''): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [${endpoints}]
  ${more}
---
`;
const rule = (policy: string, more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec: {host: pay.example, trafficPolicy: {${policy}}${more}}
---
`;
const CLUSTER = 'outbound|80||pay.example';
const options = (yaml: string, setting: Setting = { node: CLIENT }): Record<string, unknown> | undefined =>
  clusterOf(configure(yaml, setting), CLUSTER).typed_extension_protocol_options?.[
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
  ] as Record<string, unknown> | undefined;

test('answers that a rule lists count against a host, of either proxy', () => {
  const one = (code: number) => ({
    http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: String(code) } }] },
  });
  const counted = (codes: string, setting?: Setting) =>
    options(entry('{address: 10.1.0.1}') + rule(`outlierDetection: {outlierDetectionHttpErrorCodes: [${codes}]}`), setting)?.[
      'outlier_detection'
    ];
  assert.deepEqual(counted('429'), { error_matcher: one(429) });
  assert.deepEqual(counted('503, 429, 503'), { error_matcher: { or_match: { rules: [one(429), one(503)] } } });
  assert.deepEqual(counted('429', { node: { ...CLIENT, user_agent_name: 'skein' } }), { error_matcher: one(429) });
});

test('failover by network prefers the own one', () => {
  const yaml =
    entry('{address: 10.1.0.1, network: far}, {address: 10.1.0.2, network: near}') +
    rule('outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/network]}}');
  const node = { ...CLIENT, metadata: { ...CLIENT.metadata, NETWORK: 'near' } };
  const groups = configure(yaml, { node }).endpoints.find((e) => e.cluster_name === CLUSTER)?.endpoints ?? [];
  const byPriority = groups.map((g) => [g.priority ?? 0, g.lb_endpoints?.[0]?.endpoint?.address?.socket_address?.address]);
  assert.deepEqual(
    byPriority.sort((a, b) => Number(a[0]) - Number(b[0])),
    [
      [0, '10.1.0.2'],
      [1, '10.1.0.1'],
    ],
  );
});

test('a gateway that trusts whoever comes still asks for the certificate', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [a.example]
    tls: {mode: OPTIONAL_MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, insecureSkipVerify: true}
`;
  const socket = chainsOf(configure(yaml, { node: GATEWAY }), '0.0.0.0_443')[0]?.transport_socket;
  assert.match(JSON.stringify(socket), /"trust_chain_verification":"ACCEPT_UNTRUSTED"/);
});

const CONFIG_MAP = `
apiVersion: v1
kind: ConfigMap
metadata: {name: partner, namespace: shop}
data: {ca.crt: ROOT}
---
`;
const SELECTED = ', workloadSelector: {matchLabels: {app: web}}';

test('roots of a server may stand in a ConfigMap of the namespace', () => {
  const yaml = entry('{address: 10.1.0.1}') + rule('tls: {mode: SIMPLE, credentialName: configmap://partner}', SELECTED) + CONFIG_MAP;
  const known = { proven: true };
  const [secret, ...others] = configure(yaml, { node: CLIENT, known }).secrets ?? [];
  assert.deepEqual(others, []);
  assert.equal(secret?.name, 'configmap://partner-cacert');
  assert.deepEqual(secret?.validation_context?.trusted_ca?.inline_bytes, new TextEncoder().encode('ROOT'));
  assert.deepEqual(configure(yaml, { node: CLIENT }).secrets, []);
  const elsewhere = yaml.replace('name: partner, namespace: shop', 'name: partner, namespace: other');
  assert.deepEqual(configure(elsewhere, { node: CLIENT, known }).secrets, []);
});

test('a credential that no sidecar is given is told, unless workloads are named or a gateway calls', () => {
  const codes = (yaml: string): readonly string[] => {
    const { resources } = parseDocuments('mesh.yaml', yaml);
    const { problems } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf({}) });
    return problems.filter((p) => p.code === 'CREDENTIAL_UNUSED').map((p) => `${p.line} ${p.path}`);
  };
  const tls = 'tls: {mode: SIMPLE, credentialName: partner}';
  const port = 'portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: partner}}]';
  assert.deepEqual(codes(rule(tls)), ['5 spec.trafficPolicy.tls.credentialName']);
  assert.deepEqual(codes(rule(port)), ['5 spec.trafficPolicy.portLevelSettings[0].tls.credentialName']);
  assert.deepEqual(codes(rule(tls, SELECTED)), []);
  const gateway = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out, namespace: shop}
spec: {hosts: [pay.example], gateways: [egress], http: [{route: [{destination: {host: pay.example}}]}]}
`;
  assert.deepEqual(codes(rule(tls) + gateway), []);
});
