// Kubernetes' label selectors, as the mesh's settings select namespaces with them.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';

type Selector = NonNullable<MeshConfig['discoverySelectors']>[number];

/** Every namespace has it. */
export const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

export const labelsSelected = (selector: Selector | undefined, labels: Readonly<Record<string, string>>): boolean =>
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
