// The table of supported fields names only fields that exist, and the pieces of configuration this version owes are accepted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kinds } from '../../src/api/kinds.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { formatProblem } from '../../src/api/problem.ts';
import { meshConfig } from '../../src/api/schema/mesh-config.ts';
import type { AnyMessage, Schema } from '../../src/api/schema/schema.ts';
import { meshConfigSupport } from '../../src/api/support/mesh-config-support.ts';
import { type KindSupport, support } from '../../src/api/support/support.ts';
import { expandBraces } from '../../src/api/support/support-path.ts';
import { missing, sharedFile } from './shared-data.ts';

const unknownStep = (root: AnyMessage, pattern: string): string | undefined => {
  let schema: Schema = root;
  for (const step of pattern.split('.')) {
    while (schema.kind === 'list') schema = schema.of;
    if (step === '**') return undefined;
    const next: Schema | undefined = schema.kind === 'message' ? schema.fields[step] : undefined;
    if (!next) return `${step} of ${pattern}`;
    schema = next;
  }
  return undefined;
};

const lost = (schema: AnyMessage, entry: KindSupport): (string | undefined)[] => {
  const notes = [...(entry.refused ?? []), ...(entry.warned ?? [])].map((n) => n.path);
  return [...entry.supported.flatMap(expandBraces), ...notes].map((p) => unknownStep(schema, p)).filter((s) => s !== undefined);
};

test('every path of the support tables is a field of its kind', () => {
  for (const { kind, schema } of kinds) assert.deepEqual(lost(schema, support[kind]), [], kind);
  assert.deepEqual(lost(meshConfig, meshConfigSupport), []);
});

test("the mission's pieces: traffic, ingress and mutual TLS are taken, policies and filters refused by name", {
  skip: missing('reference/mission.md'),
}, () => {
  const yaml = /```yaml\n([\s\S]*?)```/.exec(sharedFile('reference/mission.md') ?? '')?.[1] ?? '';
  const verdicts: Record<string, number> = {};
  for (const piece of yaml.split(/^---$/m)) {
    const { resources, problems } = parseDocuments('piece.yaml', piece, { defaultNamespace: 'production' });
    const codes = problems.filter((p) => p.severity === 'error').map((p) => p.code);
    assert.ok(resources.length === 1 || codes.length === 1, problems.map(formatProblem).join('\n'));
    const key = `${/^kind: (\w+)/m.exec(piece)?.[1]} ${codes[0] ?? 'taken'}`;
    verdicts[key] = (verdicts[key] ?? 0) + 1;
  }
  assert.deepEqual(verdicts, {
    'DestinationRule taken': 3,
    'VirtualService taken': 6,
    'PeerAuthentication taken': 1,
    'AuthorizationPolicy taken': 3,
    'RequestAuthentication taken': 1,
    'EnvoyFilter taken': 1,
    'Gateway taken': 2,
    'Service taken': 1,
  });
});

test('recorded configurations: what Istio refused is refused, what it took is taken or not yet supported', {
  skip: missing('oracle/xds.jsonl'),
}, () => {
  const later = new Set(['FIELD_NOT_SUPPORTED', 'NOT_YET_ENFORCED', 'KIND_NOT_SUPPORTED']);
  // Istio's file mode drops unknown fields and takes header names that Envoy refuses; here both are refused.
  const stricter = /^(?:unknown field|header name .* is not a valid header name)/;
  const wrong: string[] = [];
  for (const file of ['xds', 'behaviour']) {
    for (const line of (sharedFile(`oracle/${file}.jsonl`) ?? '').split('\n')) {
      if (line === '') continue;
      const record = JSON.parse(line) as { name: string; yaml: string; rejected?: string };
      const problems = parseDocuments('x.yaml', record.yaml).problems.filter((p) => p.severity === 'error');
      const verdict = problems.filter((p) => !later.has(p.code) && !stricter.test(p.message));
      if (record.rejected !== undefined && problems.length === 0) wrong.push(`${record.name} taken, Istio: ${record.rejected}`);
      if (record.rejected === undefined && verdict.length > 0)
        wrong.push(`${record.name} refused: ${verdict.map(formatProblem).join('; ')}`);
    }
  }
  assert.deepEqual(wrong, []);
});
