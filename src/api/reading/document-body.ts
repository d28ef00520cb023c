// A resource's own part of a document, for people and programs that ask what is in force. What Secrets hold is never given back:
// they say which keys they have and how long each value is.

import { kinds } from '../kinds.ts';
import { isKind, type Resource } from '../resource.ts';
import type { Secret } from '../specs.ts';

export const documentBody = (resource: Resource): Readonly<Record<string, unknown>> => {
  if (isKind(resource, 'Secret')) return withoutValues(resource.spec);
  const entry = kinds.find((k) => k.kind === resource.kind);
  return entry?.body === 'root' ? { ...resource.spec } : { spec: resource.spec };
};

const withoutValues = ({ type, data, stringData }: Secret): Readonly<Record<string, unknown>> => ({
  ...(type === undefined ? {} : { type }),
  ...(data && { data: lengths(data) }),
  ...(stringData && { stringData: lengths(stringData) }),
});

const lengths = (values: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, `(${value.length} characters, not shown)`]));
