// TlsParameters as the runtime takes them: versions, cipher suites, groups, signature algorithms. What the runtime does not know is
// refused here by name; it would leave some of it out without a word.

import { getCiphers, type SecureContextOptions, type SecureVersion } from 'node:tls';
import { PlanError } from '../../plan/plan-error.ts';
import type { TlsParameters } from '../../xds/gen/types.ts';

const VERSIONS: { readonly [name: string]: SecureVersion } = {
  TLSv1_0: 'TLSv1',
  TLSv1_1: 'TLSv1.1',
  TLSv1_2: 'TLSv1.2',
  TLSv1_3: 'TLSv1.3',
};
const ORDER: readonly SecureVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];
const TLS13_SUITES = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];

/** Istio always says which versions; without, 1.2 and 1.3. */
export const tlsParameters = (params: TlsParameters | undefined, path: string): SecureContextOptions => {
  const of = (name: string | number | undefined, otherwise: SecureVersion, field: string): SecureVersion => {
    if (name === undefined || name === 'TLS_AUTO') return otherwise;
    const version = VERSIONS[name];
    if (version === undefined) throw new PlanError(`${path}.${field}`, `${name} is not a TLS version`);
    return version;
  };
  const minVersion = of(params?.tls_minimum_protocol_version, 'TLSv1.2', 'tls_minimum_protocol_version');
  const maxVersion = of(params?.tls_maximum_protocol_version, 'TLSv1.3', 'tls_maximum_protocol_version');
  if (ORDER.indexOf(minVersion) > ORDER.indexOf(maxVersion))
    throw new PlanError(`${path}.tls_maximum_protocol_version`, `is below the minimum ${minVersion}`);
  const curves = params?.ecdh_curves ?? [];
  const algorithms = params?.signature_algorithms ?? [];
  return {
    minVersion,
    maxVersion,
    ...cipherSuites(params?.cipher_suites ?? [], `${path}.cipher_suites`),
    ...(curves.length > 0 ? { ecdhCurve: curves.join(':') } : {}),
    ...(algorithms.length > 0 ? { sigalgs: algorithms.join(':') } : {}),
  };
};

// Suites of TLS 1.2 keep their order, groups of equals in brackets become plain; those of TLS 1.3 are fixed as in BoringSSL.
const cipherSuites = (suites: readonly string[], path: string): SecureContextOptions => {
  if (suites.length === 0) return {};
  const known = new Set(getCiphers());
  const names = suites.flatMap((suite, i) => {
    const group = suite.replace(/^\[|\]$/g, '').split('|');
    for (const name of group)
      if (!known.has(name.toLowerCase())) throw new PlanError(`${path}[${i}]`, `${name} is not a cipher suite that can be spoken`);
    return group;
  });
  return { ciphers: [...TLS13_SUITES, ...names].join(':') };
};
