// What Kubernetes asks of Secrets and ConfigMaps. No message says anything of what a Secret holds but whether it looks like PEM.

import type { Findings } from '../../findings.ts';
import { NETWORKS_KEY, NETWORKS_OBJECT, readMeshNetworks } from '../../mesh-config/mesh-networks.ts';
import { child } from '../../reading/field-path.ts';
import type { ConfigMap, Secret } from '../../specs.ts';
import type { Check } from '../validate-context.ts';

const BYTES_MAX = 1024 * 1024;
const KEY_MAX = 253;

export const checkSecret: Check<Secret> = (spec, path, findings) => {
  const { data = {}, stringData = {} } = spec;
  checkKeys({ data, stringData }, path, findings);
  if (spec.type === undefined || !Object.hasOwn(wanted, spec.type)) return;
  for (const key of wanted[spec.type] ?? []) {
    const written = Object.hasOwn(stringData, key) ? 'stringData' : 'data';
    const at = child(child(path, written), key);
    if (!Object.hasOwn(data, key) && !Object.hasOwn(stringData, key))
      findings.error(path, `a Secret of type ${spec.type} must have ${key}`);
    else if (spec.type === 'kubernetes.io/tls' && !isPem(spec, key)) findings.warn(at, 'is not PEM', 'it begins with -----BEGIN');
  }
};

/** Keys that Kubernetes asks of a Secret of a type. */
const wanted: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/basic-auth': [],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
};

/** An empty value is what kubectl writes for a certificate that is still to come. */
const isPem = (spec: Secret, key: string): boolean => {
  const value = secretText(spec, key) ?? '';
  return value === '' || value.includes('-----BEGIN ');
};

/** What a key of a Secret holds, as text; `stringData` wins over `data`. */
const secretText = (spec: Secret, key: string): string | undefined => {
  if (spec.stringData && Object.hasOwn(spec.stringData, key)) return spec.stringData[key];
  if (!spec.data || !Object.hasOwn(spec.data, key)) return undefined;
  return Buffer.from(spec.data[key] ?? '', 'base64').toString('utf8');
};

export const checkConfigMap: Check<ConfigMap> = (spec, path, findings, context) => {
  const { data = {}, binaryData = {} } = spec;
  checkKeys({ data, binaryData }, path, findings);
  for (const key of Object.keys(binaryData))
    if (Object.hasOwn(data, key)) findings.error(child(child(path, 'binaryData'), key), 'the key is also in data');
  const networks = context.name === NETWORKS_OBJECT ? data[NETWORKS_KEY] : undefined;
  if (networks === undefined) return;
  const at = child(child(path, 'data'), NETWORKS_KEY);
  for (const f of readMeshNetworks(networks).findings.list)
    findings.add(f.severity, f.code, at, f.path === '' ? f.message : `${f.path}: ${f.message}`, f.hint);
};

const checkKeys = (parts: Readonly<Record<string, Readonly<Record<string, string>>>>, path: string, findings: Findings): void => {
  let size = 0;
  for (const [part, values] of Object.entries(parts)) {
    for (const [key, value] of Object.entries(values)) {
      size += part === 'stringData' || (part === 'data' && 'binaryData' in parts) ? value.length : (value.length / 4) * 3;
      if (!isKey(key)) findings.error(child(path, part), 'a key must be of letters, digits, "-", "_" and "."', 'such as tls.crt');
    }
  }
  if (size > BYTES_MAX) findings.error(path, 'is larger than 1 MiB');
};

const isKey = (key: string): boolean => key.length <= KEY_MAX && /^[-._a-zA-Z0-9]+$/.test(key) && key !== '.' && key !== '..';
