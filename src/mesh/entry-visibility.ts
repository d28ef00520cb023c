// How far a ServiceEntry may be seen whatever it says itself: the mesh's policies by namespace, in order, the first that fits.

import type { MeshConfig } from '../api/mesh-config.ts';
import { isPublic } from './visibility.ts';

type Policies = NonNullable<MeshConfig['serviceEntryVisibility']>;
type Policy = NonNullable<Policies['policies']>[number];
type Selector = NonNullable<NonNullable<NonNullable<Policy['matchingRules']>[number]>['namespaceSelector']>;

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
  const named = { 'kubernetes.io/metadata.name': namespace, ...labels };
  const policy = (policies.policies ?? []).find((p) => (p.matchingRules ?? []).every((r) => selected(r.namespaceSelector, named)));
  const said = policy?.visibility ?? policies.defaultVisibility;
  return said === undefined || said === 'VISIBILITY_UNSPECIFIED' ? 'PUBLIC' : said;
};

const selected = (selector: Selector | undefined, labels: Readonly<Record<string, string>>): boolean =>
  selector !== undefined &&
  Object.entries(selector.matchLabels ?? {}).every(([k, v]) => labels[k] === v) &&
  (selector.matchExpressions ?? []).every(({ key = '', operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
      default:
        return false;
    }
  });
