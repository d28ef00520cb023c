// metadata of every object. What only a cluster writes (uid, managedFields …) is read and dropped, so that exported objects read unchanged.

import { int64, list, map, message, string, struct } from './schema.ts';

export const objectMeta = message('ObjectMeta', {
  name: string,
  namespace: string,
  labels: map(string),
  annotations: map(string),
  creationTimestamp: string,
  generateName: string,
  generation: int64,
  resourceVersion: string,
  uid: string,
  selfLink: string,
  finalizers: list(string),
  ownerReferences: list(struct),
  managedFields: list(struct),
  deletionTimestamp: string,
  deletionGracePeriodSeconds: int64,
});
