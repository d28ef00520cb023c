// Catch-all rules at gateways: of several for one host and port the oldest takes everything, and the others are told so.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const EARLY = '2024-01-01T00:00:00Z';
const LATE = '2024-02-01T00:00:00Z';
const object = (kind: string, name: string, created: string, spec: string): string =>
  `\n---\napiVersion: networking.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop, creationTimestamp: '${created}'}\nspec: ${spec}\n`;
const gateway = (name: string, port: number, created = EARLY): string =>
  object('Gateway', name, created, `{selector: {a: b}, servers: [{port: {number: ${port}, name: p, protocol: HTTP}, hosts: ['*']}]}`);
const rule = (name: string, gateways: string, host: string, matches: readonly string[], created = EARLY): string =>
  object(
    'VirtualService',
    name,
    created,
    `{hosts: ['${host}'], gateways: [${gateways}], http: [${matches.map((m) => `{${m}route: [{destination: {host: pay}}]}`).join(', ')}]}`,
  );
const SERVICE = 'apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n';
const ALL = 'match: [{uri: {prefix: /}}], ';
const shadowed = (yaml: string): readonly string[] => {
  const { problems } = buildSnapshot({ resources: resourcesOf(SERVICE + yaml), instances: [], meshConfig: meshConfigOf() });
  return problems.map((p) => `${p.code} ${p.path} ${p.message.replace(/, and what.*/, '')}`);
};

test('a younger catch-all behind the same port and host gets nothing, through another gateway too', () => {
  const both = gateway('g', 80) + gateway('h', 80, LATE) + rule('old', 'g', '*', ['match: [{uri: {prefix: /a}}], ', '']);
  assert.deepEqual(shadowed(both + rule('new', 'h', '*', ['match: [{uri: {prefix: /cg}}], ', ALL], LATE)), [
    'ROUTE_SHADOWED spec.http[1] no request gets here: VirtualService shop/old is older',
  ]);
});

test('nothing is said where a port, a host or a condition tells catch-alls apart', () => {
  const old = gateway('g', 80) + gateway('h', 81, LATE) + rule('old', 'g', '*', ['']);
  assert.deepEqual(shadowed(old + rule('port', 'h', '*', [ALL], LATE)), []);
  assert.deepEqual(shadowed(old + rule('both', 'g, h', '*', [ALL], LATE)), [], 'it has the other port');
  assert.deepEqual(shadowed(old + rule('host', 'g', 'x.test', [''], LATE)), []);
  assert.deepEqual(shadowed(old + rule('header', 'g', '*', ['match: [{uri: {prefix: /}, headers: {a: {exact: b}}}], '], LATE)), []);
});
