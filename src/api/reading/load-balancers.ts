// Where the load balancer of a Service answers, as the status of the object tells it: an address, or a name where the cloud gives no address.

import type { DocumentNode, MapNode } from './document-node.ts';
import { textEntry } from './read-value.ts';

/** `status.loadBalancer.ingress[]`: `ip`, else `hostname`. Empty while there is no balancer. */
export const balancersOf = (root: MapNode): readonly string[] => {
  const ingress = below(below(below(root, 'status'), 'loadBalancer'), 'ingress');
  if (ingress?.kind !== 'list') return [];
  return ingress.items
    .flatMap((i) => (i.kind === 'map' ? [textEntry(i, 'ip') || textEntry(i, 'hostname') || ''] : []))
    .filter((a) => a !== '');
};

const below = (node: DocumentNode | undefined, key: string): DocumentNode | undefined =>
  node?.kind === 'map' ? node.entries.get(key)?.node : undefined;
