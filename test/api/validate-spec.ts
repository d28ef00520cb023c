// The validation core by itself: Istio's verdict on a spec, without documents and without the table of what this version supports.

import { type Finding, Findings } from '../../src/api/findings.ts';
import { kinds } from '../../src/api/kinds.ts';
import { nodeOf } from '../../src/api/reading/document-node.ts';
import type { Kind } from '../../src/api/resource.ts';
import type { CheckContext } from '../../src/api/rules/validate-context.ts';

/** Findings about a plain value as the spec of a kind; no error among them means that Istio accepts it. */
export const validateSpec = (kind: Kind, spec: unknown, context: CheckContext): readonly Finding[] => {
  const findings = new Findings();
  const node = nodeOf(spec ?? {});
  const entry = kinds.find((k) => k.kind === kind);
  if (node.kind !== 'map' || !entry) findings.add('error', 'FIELD_TYPE', 'spec', 'must be a mapping');
  else entry.read(node, 'spec', findings, context);
  return findings.list;
};
