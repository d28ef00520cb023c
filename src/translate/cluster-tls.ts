// TLS towards a service: what a DestinationRule asks for, or mutual TLS chosen per endpoint when nothing is asked for.

import type { ClientTLSSettings, TrafficPolicy } from '../api/specs.ts';
import type { MtlsMode } from '../mesh/peer-authentication.ts';
import { endpointsOf, type Service } from '../mesh/service.ts';
import type { Cluster, CommonTlsContext } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { isPassthrough } from './load-balancing.ts';
import { exactNames, fileSecret, meshSecret, rawBuffer, upstreamTls, workloadClientTls } from './tls-context.ts';

export interface ClusterTlsInput {
  readonly service: Service;
  readonly port: number;
  readonly policy: TrafficPolicy;
  readonly sni: string;
  readonly http2: boolean;
  readonly originalDst: boolean;
}

export interface ClusterTls {
  readonly fields: Cluster;
  readonly autoSni: boolean;
  readonly autoSan: boolean;
  /** TLS to a server outside the mesh: the mesh's own ALPN names mean nothing to it. */
  readonly originated: boolean;
}

const PLAIN: ClusterTls = { fields: {}, autoSni: false, autoSan: false, originated: false };

export const clusterTls = (c: Context, input: ClusterTlsInput): ClusterTls => {
  const tls = input.policy.tls;
  if (tls !== undefined) {
    switch (tls.mode ?? 'DISABLE') {
      case 'DISABLE':
        return PLAIN;
      case 'ISTIO_MUTUAL':
        return { ...PLAIN, fields: { transport_socket: workloadSocket(c, input, tls) } };
      default:
        return originated(tls, input.http2);
    }
  }
  const mode = inferredMode(c, input);
  if (mode === undefined || mode === 'DISABLE' || !c.mesh.enableAutoMtls) return PLAIN;
  const socket = workloadSocket(c, input, undefined);
  // Endpoints of the connection's own destination carry no metadata to choose by.
  if (input.originalDst) return { ...PLAIN, fields: { transport_socket: socket } };
  return {
    ...PLAIN,
    fields: {
      transport_socket_matches: [
        { name: 'tlsMode-istio', match: { tlsMode: 'istio' }, transport_socket: socket },
        { name: 'tlsMode-disabled', match: {}, transport_socket: rawBuffer },
      ],
    },
  };
};

/** What a client can know of a service: its namespace's policy, and for passthrough whether all endpoints take part. */
const inferredMode = (c: Context, { service, port, policy }: ClusterTlsInput): MtlsMode | undefined => {
  if (service.meshExternal) return undefined;
  if (service.resolution === 'passthrough' || isPassthrough(policy)) {
    const endpoints = endpointsOf(service, port);
    if (endpoints.length === 0 || endpoints.some((e) => !e.mtls)) return 'DISABLE';
  }
  return c.snapshot.peerAuthentication.forNamespace(service.namespace) ?? 'PERMISSIVE';
};

const workloadSocket = (c: Context, input: ClusterTlsInput, tls: ClientTLSSettings | undefined): NonNullable<Cluster['transport_socket']> =>
  workloadClientTls({
    sni: tls?.sni === undefined || tls.sni === '' ? input.sni : tls.sni,
    subjectAltNames:
      tls?.subjectAltNames !== undefined && tls.subjectAltNames.length > 0 ? tls.subjectAltNames : serverIdentities(c, input.service),
    http2: input.http2,
    exchangesMetadata: c.filters.exchangesMetadata,
  });

/** The identities of the service's endpoints, under every name of the trust domain. */
const serverIdentities = (c: Context, service: Service): readonly string[] => {
  const names = new Set(service.subjectAltNames);
  for (const endpoints of service.endpoints.values()) {
    for (const e of endpoints) {
      if (e.serviceAccount === '') continue;
      for (const domain of [c.mesh.trustDomain, ...c.mesh.trustDomainAliases])
        names.add(`spiffe://${domain}/ns/${e.namespace}/sa/${e.serviceAccount}`);
    }
  }
  return [...names].sort();
};

/** SIMPLE and MUTUAL: TLS to a server that is not a workload of the mesh. */
const originated = (tls: ClientTLSSettings, http2: boolean): ClusterTls => {
  const insecure = tls.insecureSkipVerify === true;
  const names = exactNames(tls.subjectAltNames ?? []);
  const credential = tls.credentialName ?? '';
  const ca = tls.caCertificates ?? '';
  const common: CommonTlsContext = {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
    ...(http2 ? { alpn_protocols: ['h2'] } : {}),
    ...(tls.mode === 'MUTUAL' ? { tls_certificate_sds_secret_configs: [clientCertificate(tls)] } : {}),
    ...(insecure && ca === '' && credential === ''
      ? { validation_context: names }
      : {
          combined_validation_context: {
            default_validation_context: names,
            validation_context_sds_secret_config:
              credential !== '' ? meshSecret(`kubernetes://${credential}-cacert`) : fileSecret(`file-root:${ca === '' ? 'system' : ca}`),
          },
        }),
  };
  const sni = tls.sni ?? '';
  return {
    fields: { transport_socket: upstreamTls({ common_tls_context: common, ...(sni === '' ? {} : { sni }) }) },
    autoSni: sni === '',
    autoSan: sni === '' && (tls.subjectAltNames ?? []).length === 0 && !insecure,
    originated: true,
  };
};

const clientCertificate = (tls: ClientTLSSettings): ReturnType<typeof fileSecret> =>
  tls.credentialName !== undefined && tls.credentialName !== ''
    ? meshSecret(`kubernetes://${tls.credentialName}`)
    : fileSecret(`file-cert:${tls.clientCertificate ?? ''}~${tls.privateKey ?? ''}`);
