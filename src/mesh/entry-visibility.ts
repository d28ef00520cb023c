// How far a ServiceEntry may be seen whatever it says itself: the mesh's policies by namespace, in order, the first that fits.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { labelsSelected, NAMESPACE_NAME_LABEL } from './label-selector.ts';
import { isPublic } from './visibility.ts';

export type Visibility = 'PUBLIC' | 'NAMESPACE' | 'NONE';

/** What is left of `exportTo` (resolved) under a visibility. */
export const clampExportTo = (exportTo: readonly string[], namespace: string, visibility: Visibility): readonly string[] => {
  switch (visibility) {
    case 'PUBLIC':
      return exportTo;
    case 'NAMESPACE':
      return isPublic(exportTo) || exportTo.includes(namespace) ? [namespace] : [];
    case 'NONE':
      return [];
  }
};

/** `labels` are those of the entry's namespace. Policies that are for ambient proxies alone leave sidecars as they are. */
export const entryVisibility = (mesh: MeshConfig, namespace: string, labels: Readonly<Record<string, string>>): Visibility => {
  const policies = mesh.serviceEntryVisibility;
  if (policies?.applyToSidecars !== true) return 'PUBLIC';
  const named = { [NAMESPACE_NAME_LABEL]: namespace, ...labels };
  const policy = (policies.policies ?? []).find((p) => (p.matchingRules ?? []).every((r) => labelsSelected(r.namespaceSelector, named)));
  const said = policy?.visibility ?? policies.defaultVisibility;
  return said === undefined || said === 'VISIBILITY_UNSPECIFIED' ? 'PUBLIC' : said;
};
