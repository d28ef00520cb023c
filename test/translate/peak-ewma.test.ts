// Asking for peak EWMA by an annotation: Skein's own proxy gets it, whoever does not know it keeps what the rule says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PEAK_EWMA_FEATURE } from '../../src/xds/client-features.ts';
import { CLIENT, clusterOf, configure } from './configure.ts';

const MESH = (policy: string, annotation = 'peak-ewma'): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [out.example]
  addresses: [10.96.0.7]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: out, namespace: shop, annotations: {skein.dev/load-balancer: ${annotation}}}
spec: {host: out.example, trafficPolicy: {${policy}}}
`;

test('peak EWMA goes to who knows it, and gives way to consistent hashing', () => {
  const built = (policy: string, peakEwma: boolean, annotation?: string) =>
    clusterOf(
      configure(MESH(policy, annotation), { node: { ...CLIENT, client_features: peakEwma ? [PEAK_EWMA_FEATURE] : [] } }),
      'outbound|80||out.example',
    );
  const plain = 'connectionPool: {http: {maxRetries: 1}}';
  const asked = built(plain, true);
  assert.deepEqual(asked.load_balancing_policy?.policies?.[0]?.typed_extension_config?.typed_config, {
    '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
    type_url: 'type.googleapis.com/skein.load_balancing.peak_ewma.v1',
    value: {},
  });
  for (const other of [
    built(plain, false),
    built(plain, true, 'round'),
    built('loadBalancer: {consistentHash: {useSourceIp: true}}', true),
  ])
    assert.equal(other.load_balancing_policy, undefined);
  assert.equal(built(plain, false).lb_policy, 'LEAST_REQUEST');
});
