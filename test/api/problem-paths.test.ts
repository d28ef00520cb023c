// Problems of fields below fields name the whole way to them and stand on their line.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { below, child, splitPath } from '../../src/api/reading/field-path.ts';

const told = (kind: string, apiVersion: string, spec: string): (readonly [string, number])[] =>
  parseDocuments('a.yaml', `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a}\nspec:\n${spec}`)
    .problems.filter((p) => p.code === 'INVALID' || p.code === 'DISCOURAGED')
    .map((p) => [p.path, p.line] as const);

test('a path of several fields is no key with dots', () => {
  assert.equal(below('spec', 'tls.mode'), 'spec.tls.mode');
  assert.equal(below('', 'tls.mode'), 'tls.mode');
  assert.equal(child('spec', 'tls.mode'), 'spec["tls.mode"]');
  assert.deepEqual(splitPath(below('spec.a[0]', 'tls.mode')), ['spec', 'a', 0, 'tls', 'mode']);
});

test('checks that look two fields down point there', () => {
  const server = (number: number): string =>
    `  - hosts: ['*']\n    port:\n      number: ${number}\n      protocol: HTTP\n      name: http\n`;
  assert.deepEqual(told('Gateway', 'networking.istio.io/v1', `  servers:\n${server(80)}${server(81)}`), [
    ['spec.servers[1].port.name', 15],
  ]);
  const rule = '  host: a\n  trafficPolicy:\n    connectionPool:\n      tcp:\n        tcpKeepalive:\n          time: 0.1ms\n';
  assert.deepEqual(told('DestinationRule', 'networking.istio.io/v1', rule), [
    ['spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time', 10],
  ]);
  const sidecar = '  ingress:\n  - port:\n      number: 80\n      protocol: TCP\n    connectionPool:\n      http: {maxRetries: 1}\n';
  assert.deepEqual(told('Sidecar', 'networking.istio.io/v1', sidecar), [['spec.ingress[0].connectionPool.http', 10]]);
  const filter = '  accessLogging:\n  - filter:\n      expression: a ==\n';
  assert.deepEqual(told('Telemetry', 'telemetry.istio.io/v1', filter), [['spec.accessLogging[0].filter.expression', 7]]);
});
