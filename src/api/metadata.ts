// metadata of an object: names, namespace, labels, annotations, as Kubernetes takes them.

import type { Findings } from './findings.ts';
import type { MapNode } from './reading/document-node.ts';
import { child } from './reading/field-path.ts';
import { readValue } from './reading/read-value.ts';
import { objectMeta } from './schema/object-meta.ts';
import type { Infer } from './schema/schema.ts';
import { isLabelKey, isLabelValue, isObjectName } from './values/label-text.ts';

export interface Metadata {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly creationTimestamp: string | undefined;
}

export const readMetadata = (object: MapNode, namespaced: boolean, defaultNamespace: string, findings: Findings): Metadata => {
  const node = object.entries.get('metadata')?.node;
  const meta: Infer<typeof objectMeta> = node ? readValue(objectMeta, node, 'metadata', findings) : {};
  const { name = '', namespace = '', labels = {}, annotations = {}, creationTimestamp } = meta;
  if (name === '') {
    const hint = meta.generateName === undefined ? undefined : 'generateName is not supported: write the name';
    findings.add('error', 'FIELD_REQUIRED', 'metadata', 'metadata.name is required', hint);
  } else if (!isObjectName(name)) {
    findings.add(
      'error',
      'NAME_INVALID',
      'metadata.name',
      `invalid name ${JSON.stringify(name)}`,
      'lower case letters, digits, "-" and "."',
    );
  }
  if (namespace !== '' && !namespaced) findings.add('error', 'NAME_INVALID', 'metadata.namespace', 'this kind belongs to no namespace');
  if (namespace !== '' && !/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace)) {
    findings.add('error', 'NAME_INVALID', 'metadata.namespace', `invalid namespace ${JSON.stringify(namespace)}`);
  }
  checkLabelText(labels, annotations, findings);
  if (creationTimestamp !== undefined && !rfc3339.test(creationTimestamp)) {
    findings.add(
      'error',
      'NAME_INVALID',
      'metadata.creationTimestamp',
      `${JSON.stringify(creationTimestamp)} is not a time`,
      'such as "2026-01-31T12:00:00Z"',
    );
  }
  return { name, namespace: namespaced ? namespace || defaultNamespace : '', labels, annotations, creationTimestamp };
};

const rfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/;

const checkLabelText = (labels: Metadata['labels'], annotations: Metadata['annotations'], findings: Findings): void => {
  for (const [key, value] of Object.entries(labels)) {
    const path = child('metadata.labels', key);
    if (!isLabelKey(key)) findings.add('error', 'NAME_INVALID', path, `invalid label key ${JSON.stringify(key)}`);
    if (!isLabelValue(value)) findings.add('error', 'NAME_INVALID', path, `invalid label value ${JSON.stringify(value)}`);
  }
  for (const key of Object.keys(annotations)) {
    if (!isLabelKey(key))
      findings.add('error', 'NAME_INVALID', child('metadata.annotations', key), `invalid annotation key ${JSON.stringify(key)}`);
  }
};
