// The fields of Istio's selector messages (type v1beta1). Facts only: what they mean is checked elsewhere.

import { map, message, string } from './schema.ts';

export const workloadSelector = message(
  'WorkloadSelector',
  {
    matchLabels: map(string),
  },
  { limits: { matchLabels: { maxItems: 4096, each: { maxLength: 63 } } } },
);

export const policyTargetReference = message(
  'PolicyTargetReference',
  {
    group: string,
    kind: string,
    name: string,
    namespace: string,
  },
  {
    required: ['kind', 'name'],
    limits: {
      group: { maxLength: 253, pattern: '^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$' },
      kind: { minLength: 1, maxLength: 63, pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$' },
      name: { minLength: 1, maxLength: 253 },
    },
  },
);
