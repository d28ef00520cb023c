// The fields of Istio's workload entry messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { map, message, string, uint32 } from './schema.ts';

export const workloadEntry = message(
  'WorkloadEntry',
  {
    address: string,
    ports: map(uint32),
    labels: map(string),
    network: string,
    locality: string,
    weight: uint32,
    serviceAccount: string,
  },
  {
    limits: {
      address: { maxLength: 256 },
      ports: { maxItems: 128 },
      labels: { maxItems: 256 },
      network: { maxLength: 2048 },
      locality: { maxLength: 2048 },
      serviceAccount: { maxLength: 253 },
    },
  },
);
