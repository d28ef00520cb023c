// validation.json: specs and parts of specs, with the verdict of Istio's webhook: refused, taken, taken with a warning.

import { Findings } from '../../../src/api/findings.ts';
import { kinds } from '../../../src/api/kinds.ts';
import { validateSpec } from '../../api/validate-spec.ts';
import { type Adapter, labelsOf, type Row, row, text, type Verdict } from './case.ts';
import { fragments } from './validation-fragments.ts';
import { meshFragments } from './validation-mesh-fragments.ts';
import { refusedByWebhook, spoken, warnedByWebhook } from './verdict.ts';

export const validation: Adapter = ({ rows }) =>
  rows.map((r, index) => ({ id: `${text(r['test'])}/${text(r['inputType'])}/${text(r['name'])}#${index}`, run: () => judge(r) }));

const judge = (r: Row): Verdict => {
  const findings = new Findings();
  const type = text(r['inputType']);
  if (r['level'] === 'fragment') {
    const check = fragments[type] ?? meshFragments[type];
    if (!check) return { expected: r['expected'], got: `no check of ${type}` };
    // The table has rows of several functions for one type; the name of the function tells them apart.
    check(r['input'], { ...row(r['extra']), function: r['test'] }, findings);
  } else {
    const kind = kinds.find((k) => k.kind === type)?.kind;
    if (!kind) return { expected: r['expected'], got: `kind ${type} is not read` };
    const meta = row(r['metadata']);
    const context = {
      name: text(meta['name']),
      namespace: text(meta['namespace']),
      annotations: labelsOf(meta['annotations']),
      labels: labelsOf(meta['labels']),
    };
    findings.list.push(...validateSpec(kind, r['input'], context));
  }
  return verdict(findings, row(r['expected']));
};

const verdict = (findings: Findings, expected: Row): Verdict => {
  const valid = !refusedByWebhook(findings.list);
  const warning = expected['warning'];
  const warned = warnedByWebhook(findings.list);
  const right = valid === expected['valid'] && (warning === undefined || warned === (warning !== false && warning !== ''));
  return right ? undefined : { expected, got: spoken(findings.list) };
};
