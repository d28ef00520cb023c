// Ports that a sidecar holds itself on all addresses: a listener of a service there would make Envoy refuse the sidecar's own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { CLIENT, configure } from './configure.ts';

const MESH = `apiVersion: v1
kind: Service
metadata: {name: odd, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: odd}, ports: [{name: http-a, port: 15001}, {name: http-b, port: 15006}, {name: tcp, port: 15007}, {name: http-c, port: 15021}, {name: tcp-d, port: 15090}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any, namespace: shop}
spec: {hosts: [any.com], ports: [{number: 15001, name: tcp, protocol: TCP}, {number: 15008, name: tcp-2, protocol: TCP}], resolution: NONE}
`;

const onAll = (metadata: NonNullable<typeof CLIENT.metadata> = {}): readonly (string | undefined)[] =>
  configure(MESH, { node: { ...CLIENT, metadata: { ...CLIENT.metadata, ...metadata } } })
    .listeners.map((l) => l.name)
    .sort();

test('no listener for a service takes a port that the sidecar has on all addresses', () => {
  const always = ['0.0.0.0_15008', '10.96.0.5_15007', '10.96.0.5_15090', 'virtualInbound', 'virtualOutbound'];
  assert.deepEqual(onAll(), [...always, '0.0.0.0_15021'].sort());
  assert.deepEqual(onAll({ ENVOY_STATUS_PORT: 15021, ENVOY_PROMETHEUS_PORT: 15090 }), always);
});

test('who gives a service such a port is told', () => {
  const { resources } = parseDocuments('mesh.yaml', MESH);
  const mesh = parseMeshConfig('m.yaml', '');
  assert.ok(mesh.ok);
  const { problems } = buildSnapshot({ resources, instances: [], meshConfig: mesh.value.config });
  assert.deepEqual(
    problems.map((p) => `${p.code} ${p.line} ${p.path}`),
    ['PORT_RESERVED 4 spec.ports[0]', 'PORT_RESERVED 4 spec.ports[1]'],
  );
});
