// TLS that a gateway ends for its clients: the certificates, whom it asks for one, and what it speaks.

import type { ServerTLSSettings } from '../api/specs.ts';
import type { CertificateValidationContext, SdsSecretConfig, TlsParameters, TransportSocket } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import {
  caCredential,
  credential,
  downstreamTls,
  exactNames,
  fileSecret,
  serverAlpn,
  WORKLOAD_CERTIFICATE,
  WORKLOAD_ROOT,
} from './tls-context.ts';

const VERSIONS: Readonly<Record<string, TlsParameters['tls_minimum_protocol_version']>> = {
  TLSV1_0: 'TLSv1_0',
  TLSV1_1: 'TLSv1_1',
  TLSV1_2: 'TLSv1_2',
  TLSV1_3: 'TLSv1_3',
};

/** Suites that a name can be given for; others are warned of on reading and left out here. */
const CIPHER_SUITES: ReadonlySet<string> = new Set([
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-PSK-AES128-CBC-SHA',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'ECDHE-PSK-AES256-CBC-SHA',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA',
  'PSK-AES128-CBC-SHA',
  'AES256-SHA',
  'PSK-AES256-CBC-SHA',
  'DES-CBC3-SHA',
]);

/** `tcp`: what is inside is not read as HTTP. */
export const serverTls = (c: Context, tls: ServerTLSSettings, tcp: boolean): TransportSocket => {
  const mode = tls.mode ?? 'PASSTHROUGH';
  const exchanges = mode === 'ISTIO_MUTUAL' && tcp && c.filters.exchangesMetadata;
  const params = mode === 'ISTIO_MUTUAL' ? {} : tlsParameters(c, tls);
  const ca = clientRoot(c, tls);
  return downstreamTls({
    common_tls_context: {
      ...(Object.keys(params).length === 0 ? {} : { tls_params: params }),
      alpn_protocols: [...(exchanges ? ['istio-peer-exchange'] : []), ...serverAlpn(c.node.http2)],
      tls_certificate_sds_secret_configs: certificates(c, tls),
      ...(ca === undefined
        ? {}
        : { combined_validation_context: { default_validation_context: clientNames(tls), validation_context_sds_secret_config: ca } }),
    },
    require_client_certificate: mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL',
  });
};

const credentialNames = (tls: ServerTLSSettings): readonly string[] => {
  const names = tls.credentialNames ?? [];
  if (names.length > 0) return names;
  return (tls.credentialName ?? '') === '' ? [] : [tls.credentialName ?? ''];
};

const certificates = ({ node }: Context, tls: ServerTLSSettings): readonly SdsSecretConfig[] => {
  if (tls.mode === 'ISTIO_MUTUAL') return [WORKLOAD_CERTIFICATE];
  const names = credentialNames(tls);
  if (names.length > 0) return names.map((name) => credential(name, node));
  const files = tls.tlsCertificates ?? [];
  const pairs = files.length > 0 ? files : [{ serverCertificate: tls.serverCertificate, privateKey: tls.privateKey }];
  return pairs.map((p) => fileSecret(`file-cert:${p.serverCertificate ?? ''}~${p.privateKey ?? ''}`));
};

/** Where the roots of clients come from; undefined where clients are not asked. */
const clientRoot = ({ node }: Context, tls: ServerTLSSettings): SdsSecretConfig | undefined => {
  if (tls.mode === 'ISTIO_MUTUAL') return WORKLOAD_ROOT;
  if (tls.mode !== 'MUTUAL' && tls.mode !== 'OPTIONAL_MUTUAL') return undefined;
  const own = tls.caCertCredentialName ?? '';
  const [first] = credentialNames(tls);
  if (own !== '') return caCredential(own, node);
  return first === undefined ? fileSecret(`file-root:${tls.caCertificates ?? ''}`) : caCredential(first, node);
};

const clientNames = (tls: ServerTLSSettings): CertificateValidationContext => ({
  ...exactNames(tls.subjectAltNames ?? []),
  ...((tls.verifyCertificateSpki ?? []).length === 0 ? {} : { verify_certificate_spki: tls.verifyCertificateSpki }),
  ...((tls.verifyCertificateHash ?? []).length === 0 ? {} : { verify_certificate_hash: tls.verifyCertificateHash }),
  // For clients that have no certificate of ours: it is passed on, and what lies behind judges it.
  ...(tls.insecureSkipVerify === true ? { trust_chain_verification: 'ACCEPT_UNTRUSTED' as const } : {}),
  ...((tls.caCrl ?? '') === '' ? {} : { crl: { filename: tls.caCrl ?? '' } }),
});

const tlsParameters = (c: Context, tls: ServerTLSSettings): TlsParameters => {
  const defaults = c.mesh.tlsDefaults;
  const version = (v: string | undefined): TlsParameters['tls_minimum_protocol_version'] =>
    v === undefined || v === 'TLS_AUTO' ? undefined : VERSIONS[v];
  const min = version(tls.minProtocolVersion) ?? version(defaults?.minProtocolVersion);
  const max = version(tls.maxProtocolVersion);
  const own = [...new Set(tls.cipherSuites ?? [])].filter((s) => CIPHER_SUITES.has(s));
  const suites = own.length > 0 ? own : (defaults?.cipherSuites ?? []);
  const curves = defaults?.ecdhCurves ?? [];
  return {
    ...(min === undefined ? {} : { tls_minimum_protocol_version: min }),
    ...(max === undefined ? {} : { tls_maximum_protocol_version: max }),
    ...(suites.length === 0 ? {} : { cipher_suites: suites }),
    ...(curves.length === 0 ? {} : { ecdh_curves: curves }),
  };
};
