// WorkloadGroup and ProxyConfig: kinds about workloads before and beside their traffic.

import { test } from 'node:test';
import { refused, taken, warned } from './spec-verdicts.ts';

test("a group's template needs no address", () => {
  taken(
    'WorkloadGroup',
    '{template: {}}',
    '{template: {ports: {http: 80}, labels: {a: b}, serviceAccount: a}, metadata: {labels: {a: b}}}',
  );
  refused('WorkloadGroup', '{}', /"template" is required/);
  refused('WorkloadGroup', "{template: {}, metadata: {labels: {'.': a}}}", /metadata\.labels/);
  refused('WorkloadGroup', "{template: {labels: {'.': a}}}", /template\.labels/);
  refused('WorkloadGroup', '{template: {ports: {http: 70000}}}', /template\.ports\.http: port number 70000/);
});

test('a probe asks in one way', () => {
  const probe = (block: string): string => `{template: {}, probe: {${block}}}`;
  taken(
    'WorkloadGroup',
    probe('httpGet: {port: 80, path: /a, scheme: HTTPS, httpHeaders: [{name: x-a, value: b}]}, periodSeconds: 5'),
    probe('tcpSocket: {port: 80}'),
    probe('exec: {command: [a, b]}'),
    probe('grpc: {port: 80, service: a}'),
  );
  refused('WorkloadGroup', probe(''), /probe must have one of/);
  refused('WorkloadGroup', probe('tcpSocket: {port: 80}, grpc: {port: 80}'), /only one of/);
  refused('WorkloadGroup', probe('tcpSocket: {port: 80}, periodSeconds: -1'), /periodSeconds/);
  refused('WorkloadGroup', probe('httpGet: {}'), /"port" is required/);
  refused('WorkloadGroup', probe('httpGet: {port: 0}'), /httpGet\.port/);
  refused('WorkloadGroup', probe('httpGet: {port: 80, scheme: http}'), /one of HTTP, HTTPS/);
  refused('WorkloadGroup', probe("httpGet: {port: 80, httpHeaders: [{name: 'a b'}]}"), /httpHeaders\[0\]\.name/);
  refused('WorkloadGroup', probe("httpGet: {port: 80, httpHeaders: [{name: 'a_b'}]}"), /httpHeaders\[0\]\.name/);
  refused('WorkloadGroup', probe('tcpSocket: {port: 70000}'), /tcpSocket\.port/);
  refused('WorkloadGroup', probe('grpc: {port: 70000}'), /grpc\.port/);
  refused('WorkloadGroup', probe('exec: {command: []}'), /exec\.command is required/);
});

test('ProxyConfig', () => {
  taken('ProxyConfig', '{}', '{concurrency: 0, environmentVariables: {A: b}, image: {imageType: debug}, selector: {matchLabels: {a: b}}}');
  warned('ProxyConfig', '{selector: {}}', /without labels/);
  refused('ProxyConfig', '{concurrency: -1}', /concurrency/);
  refused('ProxyConfig', "{selector: {matchLabels: {'': b}}}", /empty/);
});
