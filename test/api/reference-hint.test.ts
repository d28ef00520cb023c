// Every problem of Istio's kinds has a hint: its own, or the place in Istio's reference that the path leads to.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const hints = (kind: string, group: string, spec: string): readonly (string | undefined)[] =>
  parseDocuments('a.yaml', `apiVersion: ${group}.istio.io/v1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`).problems.map((p) =>
    p.hint?.replace('see https://istio.io/latest/docs/reference/config/', ''),
  );

test('a path leads to the message that holds the field', () => {
  assert.deepEqual(hints('VirtualService', 'networking', '{hosts: [a], http: [{redirect: {redirectCode: 200}}]}'), [
    'networking/virtual-service/#HTTPRedirect',
    'networking/virtual-service/#HTTPRedirect',
  ]);
  const abort = '{hosts: [a], http: [{route: [{destination: {host: a}}], fault: {abort: {httpStatus: 700}}}]}';
  assert.deepEqual(hints('VirtualService', 'networking', abort), ['networking/virtual-service/#HTTPFaultInjection-Abort']);
  const match = "{hosts: [a], http: [{route: [{destination: {host: a}}], match: [{headers: {x: {regex: '('}}}]}]}";
  assert.deepEqual(hints('VirtualService', 'networking', match), ['networking/virtual-service/#StringMatch']);
});

test('messages that several kinds share stand on their own pages', () => {
  const entry = '{hosts: [a.b], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: a.b}]}';
  assert.deepEqual(hints('ServiceEntry', 'networking', entry), ['networking/workload-entry/#WorkloadEntry']);
  assert.deepEqual(hints('PeerAuthentication', 'security', "{selector: {matchLabels: {'a*': b}}}"), [
    'type/workload-selector/#WorkloadSelector',
  ]);
  assert.deepEqual(hints('AuthorizationPolicy', 'security', '{rules: [{from: [{source: {ipBlocks: [x]}}]}]}'), [
    'security/authorization-policy/#Source',
  ]);
});

test('a problem keeps the hint of its own', () => {
  assert.deepEqual(hints('VirtualService', 'networking', '{hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 0s}]}'), [
    'leave it out: without it there is no timeout',
  ]);
});
