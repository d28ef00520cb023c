// Keys, certificates and roots that Secrets carry for gateways, and roots that ConfigMaps do, by namespace. Both ways of naming a Secret's entries are read; roots may
// stand in a Secret of their own, called as the other with `-cacert` behind it.

import type { Resource } from '../api/resource.ts';

export interface KeyPair {
  readonly certificatePem: Uint8Array;
  readonly keyPem: Uint8Array;
}

export interface Roots {
  readonly certificatesPem: Uint8Array;
  readonly revokedPem: Uint8Array | undefined;
}

export interface SecretIndex {
  keyPair(namespace: string, name: string): KeyPair | undefined;
  /** In any namespace. */
  hasKeyPair(name: string): boolean;
  hasRoots(name: string): boolean;
  /** Of a ConfigMap: roots are no secret. */
  publicRoots(namespace: string, name: string): Roots | undefined;
  /** `name` is the credential's, without suffix. */
  roots(namespace: string, name: string): Roots | undefined;
}

const CA_SUFFIX = '-cacert';

export const buildSecrets = (resources: readonly Resource<'Secret'>[], configMaps: readonly Resource<'ConfigMap'>[] = []): SecretIndex => {
  const byName = new Map(resources.map((r) => [`${r.namespace}/${r.name}`, r.spec]));
  const entry = (spec: Resource<'Secret'>['spec'] | undefined, key: string): Uint8Array | undefined => {
    // What is written as text is put on top of what is written encoded.
    const text = spec?.stringData?.[key];
    const bytes = text === undefined ? decodeBase64(spec?.data?.[key]) : new TextEncoder().encode(text);
    return bytes === undefined || bytes.length === 0 ? undefined : bytes;
  };
  const rootsOf = (spec: Resource<'Secret'>['spec'] | undefined): Roots | undefined => {
    const certificatesPem = entry(spec, 'cacert') ?? entry(spec, 'ca.crt');
    return certificatesPem === undefined ? undefined : { certificatesPem, revokedPem: entry(spec, 'crl') ?? entry(spec, 'ca.crl') };
  };
  const keyPair: SecretIndex['keyPair'] = (namespace, name) => {
    const spec = byName.get(`${namespace}/${name}`);
    for (const [certificate, key] of [['cert', 'key'] as const, ['tls.crt', 'tls.key'] as const]) {
      const [certificatePem, keyPem] = [entry(spec, certificate), entry(spec, key)];
      if (certificatePem !== undefined && keyPem !== undefined) return { certificatePem, keyPem };
    }
    return undefined;
  };
  const roots: SecretIndex['roots'] = (namespace, name) =>
    rootsOf(byName.get(`${namespace}/${name}${CA_SUFFIX}`) ?? byName.get(`${namespace}/${name}`));
  const namespaces = [...new Set(resources.map((r) => r.namespace))];
  return {
    hasKeyPair: (name) => namespaces.some((n) => keyPair(n, name) !== undefined),
    hasRoots: (name) => namespaces.some((n) => roots(n, name) !== undefined),
    keyPair,
    roots,
    publicRoots: (namespace, name) => {
      const { data } = configMaps.find((r) => r.namespace === namespace && r.name === name)?.spec ?? {};
      const pem = data?.['cacert'] ?? data?.['ca.crt'] ?? '';
      const crl = data?.['crl'] ?? data?.['ca.crl'] ?? '';
      const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
      return pem === '' ? undefined : { certificatesPem: bytes(pem), revokedPem: crl === '' ? undefined : bytes(crl) };
    },
  };
};

const decodeBase64 = (text: string | undefined): Uint8Array | undefined =>
  text === undefined ? undefined : Uint8Array.from(atob(text.replaceAll(/\s/g, '')), (char) => char.charCodeAt(0));
