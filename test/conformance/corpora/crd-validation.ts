// crd-validation.json: whole resources and the verdict of their CRD (schema and CEL rules). Judged on the text a user would apply.

import { parseDocuments } from '../../../src/api/parse-documents.ts';
import { type Adapter, row, text, type Verdict } from './case.ts';
import { refusedByCrd, spoken } from './verdict.ts';

export const crdValidation: Adapter = ({ rows }) =>
  rows.map((r, index) => ({ id: `${text(r['file'])}/${text(r['name'])}#${index}`, run: () => judge(r['resource'], row(r['expected'])) }));

const judge = (resource: unknown, expected: { readonly [key: string]: unknown }): Verdict => {
  const { problems } = parseDocuments('case.yaml', JSON.stringify(resource));
  const valid = !refusedByCrd(problems);
  return valid === expected['valid'] ? undefined : { expected, got: spoken(problems) };
};
