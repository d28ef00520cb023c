// What only the CRDs refuse: their CEL rules, forms of values, durations, sizes, and fields that are required and null.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { Kind } from '../../src/api/resource.ts';
import { validateSpec } from './validate-spec.ts';

const told = (kind: Kind, spec: string): string[] =>
  validateSpec(kind, parse(spec), { name: 'a', namespace: 'shop', annotations: {} }).map((f) => `${f.severity} ${f.code} ${f.path}`);

const tells = (kind: Kind, spec: string, ...expected: string[]): void => assert.deepEqual(told(kind, spec), expected, spec);

test('at most one of the ways to select is written, even an empty one', () => {
  for (const kind of ['AuthorizationPolicy', 'RequestAuthentication', 'Telemetry'] as const) {
    tells(kind, '{selector: {matchLabels: {a: b}}, targetRefs: []}', 'error SCHEMA_RULE spec.targetRefs');
    tells(kind, '{selector: {matchLabels: {a: b}}}');
  }
  tells('DestinationRule', '{host: a, trafficPolicy: {loadBalancer: {warmupDurationSecs: 1s}}}');
});

test('one source of keys, one of certificates', () => {
  const rule = (more: string): string => `{jwtRules: [{issuer: a, ${more}}]}`;
  tells(
    'RequestAuthentication',
    rule(`jwksUri: 'https://a/b', jwks: '{"kty": "OKP", "crv": "Ed25519", "x": "${'A'.repeat(43)}"}'`),
    'error SCHEMA_RULE spec.jwtRules[0].jwks',
  );
  tells('RequestAuthentication', rule("jwksUri: 'https://a/b'"));
  tells('RequestAuthentication', rule("jwks_uri: 'https://a/b'"));
  const tls = (more: string): string =>
    `{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, ${more}}}]}`;
  tells('Gateway', tls('credentialName: a'));
  tells('Gateway', tls("credentialName: '', credentialNames: [a]"), 'error SCHEMA_RULE spec.servers[0].tls.credentialNames');
  tells(
    'Gateway',
    tls('credentialNames: []'),
    'error FIELD_SIZE spec.servers[0].tls.credentialNames',
    'error INVALID spec.servers[0].tls',
    'error INVALID spec.servers[0].tls',
  );
});

test('service entries and their endpoints', () => {
  const entry = (more: string): string => `{hosts: [a.b], ports: [{number: 80, name: http, protocol: HTTP}], ${more}}`;
  tells('ServiceEntry', entry('endpoints: []'), 'error SCHEMA_RULE spec.endpoints');
  tells('ServiceEntry', entry('resolution: DNS, endpoints: []'));
  tells(
    'ServiceEntry',
    '{hosts: [a.b], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 0}]}',
    'error SCHEMA_RULE spec.ports[0].targetPort',
  );
  tells('WorkloadEntry', "{address: 'unix://@a/'}", 'error SCHEMA_RULE spec.address');
  tells('WorkloadEntry', "{address: 'unix:///a', ports: {}}", 'error SCHEMA_RULE spec.ports');
  tells('WorkloadEntry', `{address: 1.2.3.4, ports: {${'a'.repeat(63)}: 80}}`, 'error SCHEMA_RULE spec.ports');
  tells('WorkloadEntry', `{address: 1.2.3.4, ports: {${'a'.repeat(62)}: 80}}`);
  tells('WorkloadEntry', '{weight: 1}', 'error INVALID spec');
  tells('WorkloadGroup', '{template: {serviceAccount: a}}');
});

test('tags, environment, and patches of waypoints', () => {
  const tag = (more: string): string => `{metrics: [{overrides: [{tagOverrides: {a: {${more}}}}]}]}`;
  tells('Telemetry', tag("operation: UPSERT, value: '1'"));
  assert.equal(told('Telemetry', tag('operation: UPSERT')).length, 1);
  assert.equal(told('Telemetry', tag('operation: REMOVE, value: a')).length, 1);
  const patch = (match: string): string => `{configPatches: [{applyTo: HTTP_FILTER, match: {${match}}, patch: {operation: REMOVE}}]}`;
  const about = (match: string): string[] => told('EnvoyFilter', patch(match)).filter((t) => t.includes('.match'));
  assert.equal(about('context: GATEWAY, waypoint: {}').length, 1);
  assert.equal(about('waypoint: {}').length, 1);
  assert.equal(about('context: WAYPOINT').length, 1);
  assert.deepEqual(about('context: GATEWAY'), []);
});

test('a duration is at least a millisecond, but where nothing means off', () => {
  const pool = (more: string): string => `{host: a, trafficPolicy: {connectionPool: {tcp: {${more}}}}}`;
  tells('DestinationRule', pool('connectTimeout: 0s'), 'error INVALID spec.trafficPolicy.connectionPool.tcp.connectTimeout');
  tells('DestinationRule', pool('idleTimeout: 0s'));
  tells('DestinationRule', '{host: a, trafficPolicy: {retryBudget: {budgetInterval: 0s}}}');
  tells('Telemetry', '{metrics: [{reportingInterval: 0s}]}', 'error FIELD_LIMIT spec.metrics[0].reportingInterval');
});

test('a required field that is null is missing', () => {
  tells('DestinationRule', '{host: }', 'error FIELD_REQUIRED spec', 'warning FIELD_FORM spec.host');
  tells('ServiceEntry', '{hosts: }', 'error FIELD_REQUIRED spec', 'warning FIELD_FORM spec.hosts');
});

test('sizes, ranges and patterns of the schema', () => {
  tells(
    'PeerAuthentication',
    '{selector: {matchLabels: {a: b}}, portLevelMtls: {}}',
    'error FIELD_SIZE spec.portLevelMtls',
    'error INVALID spec.portLevelMtls',
  );
  tells(
    'RequestAuthentication',
    "{jwtRules: [{issuer: ''}]}",
    'error FIELD_SIZE spec.jwtRules[0].issuer',
    'error INVALID spec.jwtRules[0]',
  );
  const budget = (percent: number): string => `{host: a, trafficPolicy: {retryBudget: {percent: ${percent}}}}`;
  tells('DestinationRule', budget(100));
  tells('DestinationRule', budget(101), 'error FIELD_LIMIT spec.trafficPolicy.retryBudget.percent');
  const codes = (list: string): string => `{host: a, trafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [${list}]}}}`;
  tells('DestinationRule', codes('429, 600'), 'error FIELD_LIMIT spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[1]');
});
