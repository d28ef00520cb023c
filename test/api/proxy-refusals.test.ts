// Values for which Envoy refuses a whole configuration, told where they are written. What Envoy takes was asked of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { checkFormat } from '../../src/api/values/format-commands.ts';

const refusals = (kind: string, version: string, spec: string): readonly string[] =>
  parseDocuments('a.yaml', `apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: a, namespace: b}\nspec: ${spec}\n`)
    .problems.filter((p) => p.severity === 'error')
    .map((p) => `${p.code} ${p.path}`);

const headers = (block: string): string => `{hosts: [a], http: [{route: [{destination: {host: a}, headers: ${block}}]}]}`;

test('commands of format strings are those that Envoy takes, with and without arguments as it takes them', () => {
  const taken =
    '%REQ(a)% %REQ(a?b):7% %START_TIME% %START_TIME(%s)% %METADATA(DYNAMIC:a:b)% %UPSTREAM_METADATA(["a","b"])% %% %%REQ%% %CEL(size(a)(b))% %PROTOCOL%';
  for (const text of [taken, 'x', '', '%DOWNSTREAM_REMOTE_ADDRESS%a%RESPONSE_CODE%'])
    assert.equal(checkFormat(text, 'header'), undefined, text);
  for (const text of ['%foo%', '%FOO%', '%REQ%', '%REQ(a)', '50%', '%PROTOCOL(a)%', '%FILTER_STATE%', '%REQ_WITHOUT_QUERY(:path)%', '% %'])
    assert.match(checkFormat(text, 'header') ?? '', /^Envoy refuses/, text);
  assert.equal(checkFormat('%REQ_WITHOUT_QUERY(:path)%', 'log'), undefined);
});

test('a header value with a command that Envoy does not know is refused, beside what Istio itself refuses', () => {
  assert.deepEqual(refusals('VirtualService', 'networking.istio.io/v1', headers("{request: {set: {x: '%foo%'}}}")), [
    'PROXY_REFUSES spec.http[0].route[0].headers.request.set.x',
  ]);
  assert.deepEqual(refusals('VirtualService', 'networking.istio.io/v1', headers("{response: {add: {x: '50%'}}}")), [
    'INVALID spec.http[0].route[0].headers.response.add.x',
  ]);
  assert.deepEqual(refusals('VirtualService', 'networking.istio.io/v1', headers("{request: {add: {x: '%REQ(b)%'}}}")), []);
  assert.deepEqual(refusals('Telemetry', 'telemetry.istio.io/v1', "{tracing: [{customTags: {a: {formatter: {value: '%NOTHING%'}}}}]}"), [
    'PROXY_REFUSES spec.tracing[0].customTags.a.formatter.value',
  ]);
});

test('statuses, weights and names that Envoy has no room for are refused', () => {
  const rule = (text: string): readonly string[] => refusals('VirtualService', 'networking.istio.io/v1', `{hosts: [a], http: [{${text}}]}`);
  const heavy = (n: number): string => Array.from({ length: n }, () => '{destination: {host: a}, weight: 2147483647}').join(', ');
  assert.deepEqual(rule('directResponse: {status: 600}'), ['PROXY_REFUSES spec.http[0].directResponse.status']);
  assert.deepEqual(rule('directResponse: {status: 599}'), []);
  assert.deepEqual(rule('fault: {abort: {httpStatus: 600}}, route: [{destination: {host: a}}]'), [
    'PROXY_REFUSES spec.http[0].fault.abort.httpStatus',
  ]);
  assert.deepEqual(rule(`route: [${heavy(3)}]`), ['PROXY_REFUSES spec.http[0].route']);
  assert.deepEqual(rule(`route: [${heavy(2)}]`), []);
  assert.deepEqual(rule("match: [{queryParams: {'': {exact: a}}}], route: [{destination: {host: a}}]"), [
    'PROXY_REFUSES spec.http[0].match[0].queryParams',
  ]);
});

test('pins that are no SHA-256 are refused', () => {
  const gateway = (tls: string): string =>
    `{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.com], tls: {mode: MUTUAL, credentialName: c, ${tls}}}]}`;
  const pairs = Array.from({ length: 32 }, () => 'aB').join(':');
  const taken = [`verifyCertificateHash: ['${pairs}', '${'0'.repeat(64)}']`, `verifyCertificateSpki: ['${'a'.repeat(43)}=']`];
  for (const tls of taken) assert.deepEqual(refusals('Gateway', 'networking.istio.io/v1', gateway(tls)), []);
  assert.deepEqual(refusals('Gateway', 'networking.istio.io/v1', gateway("verifyCertificateHash: ['aa:bb']")), [
    'PROXY_REFUSES spec.servers[0].tls.verifyCertificateHash[0]',
  ]);
  assert.deepEqual(refusals('Gateway', 'networking.istio.io/v1', gateway("verifyCertificateSpki: ['aa']")), [
    'PROXY_REFUSES spec.servers[0].tls.verifyCertificateSpki[0]',
  ]);
});

test('log formats of the mesh are looked at too', () => {
  const codes = (yaml: string): readonly string[] => {
    const read = parseMeshConfig('mesh.yaml', yaml);
    return read.ok ? [] : read.error.map((p) => `${p.code} ${p.path}`);
  };
  assert.deepEqual(codes("accessLogFormat: '%REQ(:METHOD)% %NOTHING%'"), ['PROXY_REFUSES accessLogFormat']);
  assert.deepEqual(codes("accessLogFormat: '%REQ_WITHOUT_QUERY(:PATH)%'"), []);
  assert.deepEqual(
    codes("extensionProviders: [{name: a, envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {x: '%NOTHING%'}}}}]"),
    ['PROXY_REFUSES extensionProviders[0].envoyFileAccessLog.logFormat.labels.x'],
  );
});
