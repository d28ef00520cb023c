// Verdicts on specs that differ in one place, for tables of rules.

import assert from 'node:assert/strict';
import { parse } from 'yaml';
import type { Kind } from '../../src/api/resource.ts';
import { validateSpec } from './validate-spec.ts';

type Verdict = 'taken' | 'warned' | 'refused';

const verdict = (kind: Kind, spec: string): Verdict => {
  const all = validateSpec(kind, parse(spec), { name: 'a', namespace: 'shop', annotations: {} });
  // What is not built is no rule of Istio's.
  const found = all.filter((f) => f.code !== 'FIELD_NOT_SUPPORTED');
  if (found.some((f) => f.severity === 'error')) return 'refused';
  return found.length > 0 ? 'warned' : 'taken';
};

/** `%` in the frame stands for the fields in question. */
export const judged = (kind: Kind, frame: string, expected: Readonly<Partial<Record<Verdict, readonly string[]>>>): void => {
  for (const [want, parts] of Object.entries(expected))
    for (const part of parts)
      assert.equal(
        verdict(
          kind,
          frame.replace('%', () => part),
        ),
        want,
        frame.replace('%', () => part.slice(0, 200)),
      );
};
