// The fields of Istio's service entry messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { enumeration, list, message, string, uint32 } from './schema.ts';
import { workloadSelector } from './sidecar-selector.ts';
import { workloadEntry } from './workload-entry.ts';

export const serviceEntryLocation = enumeration(['MESH_EXTERNAL', 'MESH_INTERNAL']);

export const serviceEntryResolution = enumeration(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS']);

export const servicePort = message(
  'ServicePort',
  {
    number: uint32,
    protocol: string,
    name: string,
    targetPort: uint32,
  },
  { required: ['number', 'name'], limits: { protocol: { maxLength: 256 }, name: { maxLength: 256 } } },
);

export const serviceEntry = message(
  'ServiceEntry',
  {
    hosts: list(string),
    addresses: list(string),
    ports: list(servicePort),
    location: serviceEntryLocation,
    resolution: serviceEntryResolution,
    endpoints: list(workloadEntry),
    workloadSelector: workloadSelector,
    exportTo: list(string),
    subjectAltNames: list(string),
  },
  {
    required: ['hosts'],
    limits: {
      hosts: { minItems: 1, maxItems: 256 },
      addresses: { maxItems: 256, each: { maxLength: 64 } },
      ports: { maxItems: 256 },
      endpoints: { maxItems: 4096 },
    },
  },
);
