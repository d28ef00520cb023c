// `exportTo`: `.`, `*`, namespaces; `~` (nobody) only for ServiceEntry.

import type { Findings } from '../../findings.ts';
import { item } from '../../reading/field-path.ts';
import { isDnsLabel } from '../../values/host-name.ts';

export interface ExportToRules {
  readonly namespace: string;
  readonly allowNone: boolean;
  /** A DestinationRule with a workloadSelector may be exported to its own namespace only. */
  readonly ownNamespaceOnly: boolean;
}

export const checkExportTo = (exportTo: readonly string[] | undefined, path: string, findings: Findings, rules: ExportToRules): void => {
  if (!exportTo || exportTo.length === 0) return;
  const seen = new Set<string>();
  for (const [index, written] of exportTo.entries()) {
    const at = item(path, index);
    const namespace = written === '.' ? rules.namespace : written;
    if (seen.has(namespace)) {
      const own = namespace === rules.namespace;
      findings.error(
        at,
        own ? `duplicate entries in exportTo: . and current namespace ${namespace}` : `duplicate entries in exportTo for entry ${written}`,
      );
      continue;
    }
    seen.add(namespace);
    if (written === '~' && !rules.allowNone) findings.error(at, '"~" (export to nobody) is only allowed for ServiceEntry');
    else if (written !== '.' && written !== '*' && written !== '~' && !isDnsLabel(written)) {
      findings.error(at, `${JSON.stringify(written)} is neither ".", "*" nor a namespace`);
    }
  }
  if (rules.ownNamespaceOnly && !(seen.size === 1 && seen.has(rules.namespace))) {
    findings.error(path, 'a destination rule with a workload selector cannot have exportTo beyond its own namespace');
  }
  if (exportTo.length > 1 && seen.has('*'))
    findings.error(path, 'cannot have both public (*) and non-public exportTo values for a resource');
  if (exportTo.length > 1 && seen.has('~')) findings.error(path, 'cannot export service entry to no one (~) and someone');
};
