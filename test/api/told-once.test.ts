// What is wrong in two ways is told once, and in words that help.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const told = (kind: string, group: string, spec: string): readonly string[] =>
  parseDocuments('a.yaml', `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`).problems.map(
    (p) => `${p.code} ${p.path}: ${p.message} (${p.hint})`,
  );

test('a percentage out of range is told once', () => {
  const [problem, ...more] = told('Telemetry', 'telemetry.istio.io', '{tracing: [{randomSamplingPercentage: 200}]}');
  assert.match(problem ?? '', /^FIELD_LIMIT spec\.tracing\[0\]\.randomSamplingPercentage: 200 is above 100/);
  assert.deepEqual(more, []);
});

test('a targetPort of a Gateway is told once', () => {
  const server = '{hosts: ["*"], port: {number: 80, name: http, protocol: HTTP, targetPort: 8080}}';
  const [problem, ...more] = told('Gateway', 'networking.istio.io', `{selector: {a: b}, servers: [${server}]}`);
  assert.match(problem ?? '', /^INVALID spec\.servers\[0\]\.port\.targetPort: /);
  assert.deepEqual(more, []);
});

test('a port of an endpoint that the entry does not have is named', () => {
  const spec =
    '{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 1.2.3.4, ports: {zz: 80}}]}';
  assert.match(told('ServiceEntry', 'networking.istio.io', spec)[0] ?? '', /endpoint port "zz" is not defined/);
});

test('a gRPC status by number is told its name', () => {
  const spec = (status: string): string =>
    `{hosts: [a], http: [{fault: {abort: {grpcStatus: "${status}", percentage: {value: 1}}}, route: [{destination: {host: a}}]}]}`;
  assert.match(told('VirtualService', 'networking.istio.io', spec('14'))[0] ?? '', /"UNAVAILABLE"/);
  assert.match(told('VirtualService', 'networking.istio.io', spec('99'))[0] ?? '', /such as "NOT_FOUND"/);
  assert.deepEqual(told('VirtualService', 'networking.istio.io', spec('UNAVAILABLE')), []);
});
