// The example of docs/rate-limits.md says what it means: its limits are read, and its objects are valid.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { parseConfig } from '../../src/ratelimit/config-document.ts';
import { findLimit } from '../../src/ratelimit/limit-tree.ts';

const FOLDER = new URL('../../examples/rate-limits/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');

test('the limits of the example are twenty a minute for each user, and more for the robot', () => {
  const { domains, problems } = parseConfig('shop.yaml', read('limits/shop.yaml'));
  assert.deepEqual([problems, domains.map((d) => d.domain)], [[], ['shop']]);
  const root = domains[0]?.root;
  assert.ok(root);
  const limit = (value: string): number | undefined => findLimit(root, [{ key: 'user', value }])?.requests;
  assert.deepEqual([limit('ann'), limit('robot')], [20, 200]);
});

test('the objects of the example have no problem', () => {
  for (const [name, count] of [
    ['server.yaml', 2],
    ['shared-limit.yaml', 1],
  ] as const) {
    const { problems, resources } = parseDocuments(name, read(name));
    assert.deepEqual([problems, resources.length], [[], count], name);
  }
});
