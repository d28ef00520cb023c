// WasmPlugin and TrafficExtension are judged as Istio judges them, and then refused: nothing here runs them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { refused, taken, warned } from './spec-verdicts.ts';

const wasm = (block: string, url = 'oci://a.b/c:1'): string => `{url: '${url}', ${block}}`;

test('a module is named by a URL', () => {
  const good = ['http://a.b/c', 'https://a.b:8080/c?d', 'file:///a', 'oci://[::1]:5000/a', 'a.b/c:v1', 'a', '10.0.0.1:5000/a', '/a/b'];
  for (const url of good) taken('WasmPlugin', wasm('', url));
  for (const [url, why] of [
    ['ftp://a', /unsupported scheme: ftp/],
    ['localhost:5000/a', /unsupported scheme: localhost/],
    ['a b/c', /is not a URL/],
    ['#%blah$#@', /is not a URL/],
    ['http://a/%zz', /is not a URL/],
  ] as const)
    refused('WasmPlugin', wasm('', url), why);
  refused('WasmPlugin', '{}', /"url" is required/);
  refused('WasmPlugin', "{url: ''}", /url/);
});

test('the rest of a module', () => {
  const sha = 'a'.repeat(64);
  taken('WasmPlugin', wasm(`sha256: ${sha}`), wasm("sha256: ''"), wasm('imagePullPolicy: Always, failStrategy: FAIL_OPEN, priority: -1'));
  refused('WasmPlugin', wasm('sha256: abc'), /sha256/);
  refused('WasmPlugin', wasm(`sha256: ${'A'.repeat(64)}`), /sha256/);
  refused('WasmPlugin', wasm("imagePullSecret: ''"), /imagePullSecret/);
  refused('WasmPlugin', wasm(`imagePullSecret: ${'a'.repeat(254)}`), /imagePullSecret/);
  refused('WasmPlugin', wasm(`pluginName: ${'a'.repeat(257)}`), /pluginName/);
  const env = (list: string): string => wasm(`vmConfig: {env: [${list}]}`);
  taken('WasmPlugin', env('{name: a, value: b}, {name: c, valueFrom: HOST}'));
  refused('WasmPlugin', env('{name: a}, {name: a}'), /env\[1\]\.name: duplicate/);
  refused('WasmPlugin', env("{name: ''}"), /empty/);
  refused('WasmPlugin', env('{name: a, valueFrom: HOST, value: b}'), /env\[0\]\.value: value may only be set/);
});

test('whom and which traffic a module is about', () => {
  const ref = '{kind: Service, name: a}';
  taken('WasmPlugin', wasm(`targetRefs: [${ref}]`), wasm('match: [{mode: SERVER, ports: [{number: 80}]}]'));
  warned('WasmPlugin', wasm('selector: {}'), /without labels/);
  refused('WasmPlugin', wasm(`selector: {matchLabels: {a: b}}, targetRef: ${ref}`), /only one of/);
  refused('WasmPlugin', wasm("selector: {matchLabels: {'a*': b}}"), /wildcard/);
  refused('WasmPlugin', wasm('match: [{ports: [{number: 0}]}]'), /ports\[0\]\.number/);
  refused('WasmPlugin', wasm('match: [{ports: [{number: 80}, {number: 80}]}]'), /duplicate port number/);
});

test('a TrafficExtension is a module or a script', () => {
  taken('TrafficExtension', '{lua: {inlineCode: a}}', '{wasm: {url: a}, phase: AUTHZ, match: [{mode: CLIENT}]}');
  refused('TrafficExtension', '{}', /exactly one of wasm or lua/);
  refused('TrafficExtension', '{wasm: {url: a}, lua: {inlineCode: b}}', /only one of|exactly one of/);
  refused('TrafficExtension', "{lua: {inlineCode: ''}}", /inlineCode/);
  refused('TrafficExtension', `{lua: {inlineCode: '${'a'.repeat(65537)}'}}`, /inlineCode/);
  refused('TrafficExtension', "{wasm: {url: 'ftp://a'}}", /wasm\.url: url contains unsupported scheme/);
});

test('neither is taken into a mesh', () => {
  for (const [kind, spec] of [
    ['WasmPlugin', '{url: a}'],
    ['TrafficExtension', '{lua: {inlineCode: a}}'],
  ] as const) {
    const text = `apiVersion: extensions.istio.io/v1alpha1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`;
    const { resources, problems } = parseDocuments('a.yaml', text);
    assert.deepEqual(resources, []);
    assert.deepEqual(
      problems.map((p) => [p.code, p.path, p.line]),
      [['NOT_YET_ENFORCED', 'kind', 2]],
    );
    assert.match(problems[0]?.message ?? '', /no (?:WebAssembly|WebAssembly or Lua) runs here/);
  }
});
