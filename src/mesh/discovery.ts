// Namespaces that the mesh is about: the mesh's discoverySelectors choose them by label. Objects of others say nothing.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import { ofKind, type Resource } from '../api/resource.ts';
import { labelsSelected, NAMESPACE_NAME_LABEL } from './label-selector.ts';

/** One selector that fits is enough. Without any, and for the root namespace, everything is taken. */
export const discovered = (resources: readonly Resource[], mesh: MeshConfig): readonly Resource[] => {
  const selectors = mesh.discoverySelectors ?? [];
  if (selectors.length === 0) return resources;
  const labels = new Map(ofKind(resources, 'Namespace').map((n) => [n.name, n.labels]));
  const known = new Map<string, boolean>();
  const isDiscovered = (namespace: string): boolean => {
    const before = known.get(namespace);
    if (before !== undefined) return before;
    const named = { [NAMESPACE_NAME_LABEL]: namespace, ...labels.get(namespace) };
    const chosen = namespace === mesh.rootNamespace || selectors.some((s) => labelsSelected(s, named));
    known.set(namespace, chosen);
    return chosen;
  };
  return resources.filter((r) => r.kind === 'Namespace' || isDiscovered(r.namespace));
};
