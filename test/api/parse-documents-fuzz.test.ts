// However a text is mangled, reading it ends in problems with a place, never in an exception.

import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseDocuments } from '../../src/api/parse-documents.ts';

const document = (kind: string, spec: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: ${kind}\nmetadata: {name: payment}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;

describe('no text makes the reader throw', () => {
  const whole = [
    document(
      'VirtualService',
      `hosts: [payment]\nhttp:\n- route: [{destination: {host: payment}}]\n  timeout: 5s\n  retries: {attempts: 3, retryOn: 5xx}\n  fault: {abort: {httpStatus: 503, percentage: {value: 5}}}`,
    ),
    document(
      'DestinationRule',
      '{host: a, trafficPolicy: {outlierDetection: {interval: 1s}, tls: {mode: MUTUAL}}, subsets: [{name: v1, labels: {a: b}}]}',
    ),
    'apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: http}]}\n',
  ].join('---\n');

  const sound = (text: string): boolean => {
    const { problems } = parseDocuments('mesh/a.yaml', text);
    const lines = text.split('\n').length;
    return problems.every((p) => p.line >= 1 && p.line <= lines + 1 && p.column >= 1 && p.message !== '');
  };

  test('characters replaced and pieces moved', () => {
    const edit = fc.record({
      at: fc.nat(whole.length),
      length: fc.nat(12),
      text: fc.oneof(
        fc.string(),
        fc.constantFrom('null', '[]', '{}', '{', ': ', '- ', '*a', '&a ', '!!x ', '"', '\t', '<<: ', '0x1', '1e9'),
      ),
    });
    const apply = (text: string, e: { at: number; length: number; text: string }): string =>
      text.slice(0, e.at) + e.text + text.slice(e.at + e.length);
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => sound(edits.reduce(apply, whole))),
      { numRuns: 300 },
    );
  });

  test('any JSON below the fields of a kind', () => {
    const spec = fc.dictionary(
      fc.constantFrom(
        'hosts',
        'http',
        'tcp',
        'tls',
        'gateways',
        'exportTo',
        'host',
        'subsets',
        'servers',
        'ports',
        'selector',
        'rules',
        'command',
      ),
      fc.jsonValue(),
    );
    const kind = fc.constantFrom('VirtualService', 'DestinationRule', 'Gateway', 'ServiceEntry', 'WorkloadEntry');
    fc.assert(
      fc.property(kind, spec, (k, s) =>
        sound(JSON.stringify({ apiVersion: 'networking.istio.io/v1', kind: k, metadata: { name: 'a' }, spec: s })),
      ),
      { numRuns: 300 },
    );
  });
});
