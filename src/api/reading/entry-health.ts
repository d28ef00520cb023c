// Health of a WorkloadEntry as its object tells it: where an annotation says that it is checked, it is healthy once its status says so.
// Registered workloads write both; whoever copies such an object into a file brings them along.

import type { DocumentNode, MapNode } from './document-node.ts';
import { textEntry } from './read-value.ts';

export const HEALTH_ANNOTATION = 'proxy.istio.io/health-checks-enabled';

/** What Go reads as true. */
const TRUE: ReadonlySet<string> = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);

export const isChecked = (annotations: Readonly<Record<string, string>>): boolean => TRUE.has(annotations[HEALTH_ANNOTATION] ?? '');

/** False for an entry that is checked and that nobody has found healthy. */
export const isHealthyEntry = (root: MapNode, annotations: Readonly<Record<string, string>>): boolean =>
  !isChecked(annotations) || conditionsOf(root).some((c) => textEntry(c, 'type') === 'Healthy' && isTrue(c.entries.get('status')?.node));

/** `status: True` without quotes is a boolean. */
const isTrue = (node: DocumentNode | undefined): boolean => node?.kind === 'scalar' && String(node.value).toLowerCase() === 'true';

const conditionsOf = (root: MapNode): readonly MapNode[] => {
  const status = root.entries.get('status')?.node;
  const conditions: DocumentNode | undefined = status?.kind === 'map' ? status.entries.get('conditions')?.node : undefined;
  return conditions?.kind === 'list' ? conditions.items.filter((i) => i.kind === 'map') : [];
};
