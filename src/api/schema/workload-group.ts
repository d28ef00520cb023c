// The fields of Istio's workload group messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { readinessProbe } from './readiness-probe.ts';
import { map, message, string } from './schema.ts';
import { workloadEntry } from './workload-entry.ts';

export const workloadGroupObjectMeta = message(
  'WorkloadGroup.ObjectMeta',
  { labels: map(string), annotations: map(string) },
  { limits: { labels: { maxItems: 256 }, annotations: { maxItems: 256 } } },
);

export const workloadGroup = message(
  'WorkloadGroup',
  { metadata: workloadGroupObjectMeta, template: workloadEntry, probe: readinessProbe },
  { required: ['template'] },
);
