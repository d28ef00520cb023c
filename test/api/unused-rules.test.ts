// Warnings about rules of a VirtualService that are not reached: as many as a person reads, in time that grows with the rules.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const virtualService = (matches: readonly string[]): string =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n${matches
    .map((m) => `  - match: [${m}]\n    route: [{destination: {host: a}}]\n`)
    .join('')}`;

const warnings = (matches: readonly string[]): readonly string[] =>
  parseDocuments('a.yaml', virtualService(matches))
    .problems.filter((p) => p.code === 'DISCOURAGED')
    .map((p) => `${p.path}: ${p.message}`);

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

test('thousands of overlapping prefixes give a hundred warnings and the number of the rest', () => {
  const told = warnings(Array.from({ length: 3000 }, (_, i) => `{uri: {prefix: /p${i}}}`));
  assert.equal(told.length, 101);
  const pairs = 90 + 900 * 2 + 2000 * 3; // each number is covered by its beginnings
  assert.ok(told.includes(`spec: ${pairs - 100} more rules and matches of it are not used`));
});

test('a cover is found among prefixes that are alike, whatever else they ask for', () => {
  const matches = [
    '{uri: {prefix: /a}, headers: {x: {exact: b}}}',
    '{uri: {prefix: /a}, port: 8080}',
    '{uri: {prefix: /a/b}}',
    '{uri: {prefix: /a}}',
  ];
  assert.deepEqual(warnings([...matches, '{uri: {prefix: /a/c}}']), [
    'spec.http[4].match[0]: virtualService rule #4 match #0 of prefix /a/c is not used (overlapping match of prefix /a in rule #3 match #0)',
  ]);
});

test('work is bounded where prefixes are equal, and what was not looked at is said', () => {
  const one = Array.from({ length: 1500 }, (_, i) => `{uri: {prefix: /a}, headers: {x: {exact: v${i}}}}`);
  const two = Array.from({ length: 1500 }, (_, i) => `{uri: {prefix: /a/b}, headers: {x: {exact: w${i}}}}`);
  const before = cpuMs();
  assert.match(warnings([...one, ...two])[0] ?? '', /^spec: too many matches of equal prefixes/);
  assert.ok(cpuMs() - before < 5000);
});
