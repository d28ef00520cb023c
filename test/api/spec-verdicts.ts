// Assertions about specs written as YAML: taken without a word, taken with a warning, refused for a reason.

import assert from 'node:assert/strict';
import { parse } from 'yaml';
import type { Kind } from '../../src/api/resource.ts';
import { validateSpec } from './validate-spec.ts';

const told = (kind: Kind, spec: string): string[] =>
  validateSpec(kind, parse(spec), { name: 'a', namespace: 'shop', annotations: {} }).map((f) => `${f.severity} ${f.path}: ${f.message}`);

export const taken = (kind: Kind, ...specs: string[]): void => {
  for (const spec of specs) assert.deepEqual(told(kind, spec), [], spec);
};

/** Every error must match, so that nothing else is wrong with the example. */
export const refused = (kind: Kind, spec: string, why: RegExp): void => {
  const errors = told(kind, spec).filter((f) => f.startsWith('error'));
  assert.ok(errors.length > 0, `taken: ${spec}`);
  for (const error of errors) assert.match(error, why);
};

export const warned = (kind: Kind, spec: string, why: RegExp): void => {
  const all = told(kind, spec);
  assert.ok(all.length > 0 && all.every((f) => f.startsWith('warning')), `${spec}: ${all.join('\n') || 'nothing'}`);
  assert.match(all.join('\n'), why);
};
