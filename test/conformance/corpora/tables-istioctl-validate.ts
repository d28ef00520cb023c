// tables/istioctl_pkg_validate.json: one document, refused or not.

import { parseDocuments } from '../../../src/api/parse-documents.ts';
import type { Problem } from '../../../src/api/problem.ts';
import { leftOut, type Row, text, type Verdict } from './case.ts';
import { table } from './table.ts';
import { refusedByWebhook, spoken } from './verdict.ts';

/** `istioctl validate` refuses what Kubernetes and istiod take, a port without protocol; Skein warns. */
const refused = (problems: readonly Problem[]): boolean =>
  refusedByWebhook(problems) || problems.some((p) => p.code === 'PORT_PROTOCOL_UNKNOWN');

const judge = (r: Row): Verdict => {
  const { problems } = parseDocuments('case.yaml', text(r['in']));
  if (problems.some((p) => p.code === 'KIND_NOT_SUPPORTED' || p.code === 'KIND_UNKNOWN'))
    return leftOut('a kind that means nothing to a mesh: Skein refuses it by name, istioctl passes it over');
  if (problems.some((p) => p.code === 'NOT_AN_OBJECT'))
    return leftOut('no apiVersion: Kubernetes and Skein refuse the document, istioctl does not look');
  const warned = r['warn'] !== true || problems.some((p) => p.severity === 'warning');
  return !refused(problems) === r['valid'] && warned ? undefined : { expected: { valid: r['valid'] }, got: spoken(problems) };
};

export const istioctlValidate = table({ TestValidateResource: judge });
