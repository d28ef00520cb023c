// tables/pkg_config_labels.json: what a selector selects, and which labels are refused.

import { Findings } from '../../../src/api/findings.ts';
import { checkLabels } from '../../../src/api/values/label-text.ts';
import { selects } from '../../../src/mesh/service.ts';
import { differs, labelsOf, leftOut, row } from './case.ts';
import { table } from './table.ts';

export const configLabels = table({
  TestInstance: (r) => {
    const left = labelsOf(r['left']);
    const subsetOf = selects(left, labelsOf(r['right']));
    return differs({ subsetOf, selected: Object.keys(left).length > 0 && subsetOf }, r['expected']);
  },
  TestString: leftOut('how Go code prints labels into its logs'),
  TestInstanceValidate: (r) => {
    const findings = new Findings();
    checkLabels(labelsOf(row(r['tags'])), '', findings);
    return differs(!findings.failed, r['valid'] === true);
  },
});
