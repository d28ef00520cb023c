// Labels, selectors and object names in Kubernetes' terms.

import type { Findings } from '../findings.ts';
import { child } from '../reading/field-path.ts';

const qualifiedName = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const subdomain = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

export const isLabelKey = (key: string): boolean => {
  const slash = key.indexOf('/');
  const prefix = slash === -1 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && (prefix.length > 253 || !subdomain.test(prefix.toLowerCase()))) return false;
  return name.length <= 63 && qualifiedName.test(name);
};

export const isLabelValue = (value: string): boolean => value === '' || (value.length <= 63 && qualifiedName.test(value));

/** `metadata.name` of most kinds. */
export const isObjectName = (name: string): boolean => name.length <= 253 && subdomain.test(name);

export const checkLabels = (labels: Readonly<Record<string, string>> | undefined, path: string, findings: Findings): void => {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isLabelKey(key)) findings.error(child(path, key), `invalid label key ${JSON.stringify(key)}`);
    if (!isLabelValue(value)) findings.error(child(path, key), `invalid label value ${JSON.stringify(value)}`);
  }
};

/** Labels that select workloads. */
export const checkSelector = (labels: Readonly<Record<string, string>> | undefined, path: string, findings: Findings): void => {
  const entries = Object.entries(labels ?? {});
  for (const [key, value] of entries) {
    if (key === '') findings.error(child(path, key), `empty key is not supported in selector: "=${value}"`);
    if (key.includes('*') || value.includes('*'))
      findings.error(child(path, key), `wildcard is not supported in selector: "${key}=${value}"`);
  }
  if (entries.length === 0) findings.warn(path, 'workload selector specified without labels');
};
