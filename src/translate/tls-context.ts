// TLS contexts. Certificates never travel in configuration: every key and root comes over SDS, from the agent or by name.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type {
  CommonTlsContext,
  ConfigSource,
  DownstreamTlsContext,
  SdsSecretConfig,
  TransportSocket,
  UpstreamTlsContext,
} from '../xds/gen/types.ts';
import { caResource, credentialResource } from './names.ts';
import type { ProxyNode } from './proxy-node.ts';

const TLS = 'envoy.transport_sockets.tls';
const PREFIX = 'type.googleapis.com/envoy.extensions.transport_sockets';

/** The agent's socket: workload certificates, roots and files. */
const AGENT_SDS: ConfigSource = {
  api_config_source: {
    api_type: 'GRPC',
    grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }],
    set_node_on_first_message_only: true,
    transport_api_version: 'V3',
  },
  initial_fetch_timeout: '0s',
  resource_api_version: 'V3',
};

const agentSecret = (name: string): SdsSecretConfig => ({ name, sds_config: AGENT_SDS });

/** Certificates in files beside the proxy, which the agent reads and watches. */
export const fileSecret = (name: string): SdsSecretConfig => {
  const { initial_fetch_timeout: _waitForEver, ...config } = AGENT_SDS;
  return { name, sds_config: config };
};

/** Envoy waits 15 seconds where nothing is said; 0 would be for ever. */
const HARDLY = '0.001s';

/** Secrets the control plane serves itself, to those it entitles. A listener whose secret does not come serves what needs none. */
const meshSecret = (name: string, { secretsUnanswered }: SecretClient): SdsSecretConfig => ({
  name,
  sds_config: { ads: {}, resource_api_version: 'V3', ...(secretsUnanswered ? { initial_fetch_timeout: HARDLY } : {}) },
});

type SecretClient = Pick<ProxyNode, 'secretsUnanswered'>;

/** Key and certificate of a `credentialName`. */
export const credential = (name: string, client: SecretClient): SdsSecretConfig => meshSecret(credentialResource(name), client);

/** The roots that belong to a `credentialName`. */
export const caCredential = (name: string, client: SecretClient): SdsSecretConfig => meshSecret(caResource(name), client);

export const WORKLOAD_CERTIFICATE = agentSecret('default');
export const WORKLOAD_ROOT = agentSecret('ROOTCA');

const INBOUND_CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
];

export const rawBuffer: TransportSocket = {
  name: 'envoy.transport_sockets.raw_buffer',
  typed_config: { '@type': `${PREFIX}.raw_buffer.v3.RawBuffer` },
};

/** Writes the PROXY protocol's header before what `inner` sends. */
export const upstreamProxyProtocol = (version: 'V1' | 'V2', inner: TransportSocket): TransportSocket => ({
  name: 'envoy.transport_sockets.upstream_proxy_protocol',
  typed_config: {
    '@type': `${PREFIX}.proxy_protocol.v3.ProxyProtocolUpstreamTransport`,
    config: { version },
    transport_socket: inner,
  },
});

export const downstreamTls = (context: DownstreamTlsContext): TransportSocket => ({
  name: TLS,
  typed_config: { '@type': `${PREFIX}.tls.v3.DownstreamTlsContext`, ...context },
});
export const upstreamTls = (context: UpstreamTlsContext): TransportSocket => ({
  name: TLS,
  typed_config: { '@type': `${PREFIX}.tls.v3.UpstreamTlsContext`, ...context },
});

export interface WorkloadServerTls {
  readonly trustDomains: readonly string[];
  readonly http2: boolean;
  readonly exchangesMetadata: boolean;
  /** What the mesh asks of connections between workloads. */
  readonly mesh?: MeshConfig['meshMTLS'];
}

/** What a server offers in ALPN. */
export const serverAlpn = (http2: boolean): readonly string[] => (http2 ? ['h2', 'http/1.1'] : ['http/1.1']);

/** A server's half of mutual TLS between workloads: any identity of the mesh's trust domains. */
export const workloadServerTls = ({ trustDomains, http2, exchangesMetadata, mesh }: WorkloadServerTls): TransportSocket =>
  downstreamTls({
    common_tls_context: {
      tls_params: {
        tls_minimum_protocol_version: mesh?.minProtocolVersion === 'TLSV1_3' ? 'TLSv1_3' : 'TLSv1_2',
        tls_maximum_protocol_version: 'TLSv1_3',
        cipher_suites: (mesh?.cipherSuites ?? []).length > 0 ? mesh?.cipherSuites : INBOUND_CIPHERS,
      },
      alpn_protocols: [...(exchangesMetadata ? ['istio-peer-exchange'] : []), ...serverAlpn(http2)],
      tls_certificate_sds_secret_configs: [WORKLOAD_CERTIFICATE],
      combined_validation_context: {
        default_validation_context: { match_subject_alt_names: trustDomains.map((d) => ({ prefix: `spiffe://${d}/` })) },
        validation_context_sds_secret_config: WORKLOAD_ROOT,
      },
    },
    require_client_certificate: true,
  });

export interface WorkloadClientTls {
  readonly sni: string;
  readonly subjectAltNames: readonly string[];
  readonly http2: boolean;
  readonly exchangesMetadata: boolean;
}

/** A client's half: the server must prove one of the names. */
export const workloadClientTls = (o: WorkloadClientTls): TransportSocket =>
  upstreamTls({
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
      alpn_protocols: [...(o.exchangesMetadata ? ['istio-peer-exchange'] : []), 'istio', ...(o.http2 ? ['h2'] : [])],
      tls_certificate_sds_secret_configs: [WORKLOAD_CERTIFICATE],
      combined_validation_context: {
        default_validation_context: exactNames(o.subjectAltNames),
        validation_context_sds_secret_config: WORKLOAD_ROOT,
      },
    },
    sni: o.sni,
  });

export const exactNames = (names: readonly string[]): NonNullable<CommonTlsContext['validation_context']> =>
  names.length === 0 ? {} : { match_subject_alt_names: names.map((exact) => ({ exact })) };
