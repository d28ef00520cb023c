// The fields of Istio's sidecar messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { map, message, string } from './schema.ts';

export const workloadSelector = message(
  'WorkloadSelector',
  {
    labels: map(string),
  },
  { limits: { labels: { maxItems: 256, each: { maxLength: 63 } } } },
);
