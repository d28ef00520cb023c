import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatewaysOf, ingressPlan } from '../../src/local/ingress-plan.ts';

const FIRST = { host: '127.0.0.1', port: 8080 };
const REPLICA = {
  namespace: 'istio-system',
  labels: { app: 'gw', istio: 'ingressgateway' },
  address: '10.244.0.10',
  ports: [{ name: 'http', port: 80 }],
};
const gateway = (selector: Record<string, string>, ...servers: object[]) => ({ object: { spec: { selector, servers } } });
const server = (number: number, protocol = 'HTTP', tls?: object) => ({ port: { number, protocol }, ...(tls ? { tls } : {}) });
const planned = (resources: object[], services: Parameters<typeof ingressPlan>[3] = []): string[] =>
  ingressPlan(FIRST, [REPLICA], gatewaysOf({ resources }), services).map(
    ({ rule, scheme }) => `${scheme} ${rule.listen.port}->${rule.target.host}:${rule.target.port}`,
  );

test('the workload’s own port is at the chosen address, without any Gateway too', () => {
  assert.deepEqual(planned([]), ['http 8080->10.244.0.10:80']);
});

test('ports of Gateways that select the workload follow, each once, at their number or 8000 above it', () => {
  const resources = [
    gateway({ istio: 'ingressgateway' }, server(30013), server(80), server(443, 'HTTPS', { mode: 'SIMPLE' })),
    gateway({ istio: 'ingressgateway' }, server(30012, 'TCP'), server(30013)),
    gateway({ istio: 'other' }, server(9000)),
  ];
  assert.deepEqual(planned(resources), [
    'http 8080->10.244.0.10:80',
    'https 8443->10.244.0.10:443',
    'tcp 30012->10.244.0.10:30012',
    'http 30013->10.244.0.10:30013',
  ]);
});

test('a Gateway’s port is the Service’s and leads to its target port', () => {
  const ports = [
    { name: 'http', port: 80, targetPort: 'http', protocol: 'tcp' as const },
    { name: 'alt', port: 81, targetPort: 8081, protocol: 'tcp' as const },
  ];
  const services = [{ name: 'gw', namespace: 'istio-system', clusterIP: undefined, selector: { app: 'gw' }, ports }];
  assert.deepEqual(planned([gateway({}, server(80), server(81))], services), ['http 8080->10.244.0.10:80', 'http 8081->10.244.0.10:8081']);
});

test('two that want one number of the host get two', () => {
  assert.deepEqual(planned([gateway({}, server(8080))]), ['http 8080->10.244.0.10:80', 'http 8081->10.244.0.10:8080']);
});
