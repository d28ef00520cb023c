// TLS towards a service: what a DestinationRule asks for, or mutual TLS chosen per endpoint when nothing is asked for.

import type { ClientTLSSettings, TrafficPolicy } from '../api/specs.ts';
import type { MtlsMode } from '../mesh/peer-authentication.ts';
import { endpointsOf, type Service } from '../mesh/service.ts';
import type { Cluster, CommonTlsContext, TransportSocket } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { isPassthrough } from './load-balancing.ts';
import {
  caCredential,
  credential,
  exactNames,
  fileSecret,
  rawBuffer,
  upstreamProxyProtocol,
  upstreamTls,
  workloadClientTls,
} from './tls-context.ts';

export interface ClusterTlsInput {
  readonly service: Service;
  readonly port: number;
  readonly policy: TrafficPolicy;
  readonly sni: string;
  readonly http2: boolean;
  readonly originalDst: boolean;
  /** The rule names the workloads it is for. */
  readonly selected: boolean;
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
        // A credential of the namespace is given only to those the rule names, or every sidecar would wait for it.
        if ((tls.credentialName ?? '') !== '' && c.node.kind === 'sidecar' && !input.selected) return PLAIN;
        return originated(c, input, tls);
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
export const serverIdentities = (c: Context, service: Service): readonly string[] => {
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
const originated = (c: Context, { service, http2 }: ClusterTlsInput, tls: ClientTLSSettings): ClusterTls => {
  const insecure = tls.insecureSkipVerify === true;
  const named = tls.subjectAltNames ?? [];
  const sni = tls.sni ?? '';
  const defaults = c.mesh.tlsDefaults;
  const common: CommonTlsContext = {
    tls_params: {
      tls_minimum_protocol_version: 'TLSv1_2',
      tls_maximum_protocol_version: 'TLSv1_3',
      ...((defaults?.ecdhCurves ?? []).length === 0 ? {} : { ecdh_curves: defaults?.ecdhCurves }),
      ...((defaults?.cipherSuites ?? []).length === 0 ? {} : { cipher_suites: defaults?.cipherSuites }),
    },
    ...(http2 ? { alpn_protocols: ['h2'] } : {}),
    ...(tls.mode === 'MUTUAL' ? { tls_certificate_sds_secret_configs: [clientCertificate(c, tls)] } : {}),
    // A ServiceEntry says which names its servers prove; a rule's own names replace them.
    ...validation(c, tls, insecure, named.length > 0 || service.registry !== 'External' ? named : serverIdentities(c, service)),
  };
  return {
    fields: { transport_socket: upstreamTls({ common_tls_context: common, ...(sni === '' ? {} : { sni }) }) },
    autoSni: sni === '',
    autoSan: sni === '' && named.length === 0 && !insecure,
    originated: true,
  };
};

const validation = ({ node }: Context, tls: ClientTLSSettings, insecure: boolean, names: readonly string[]): CommonTlsContext => {
  const byCredential = (tls.credentialName ?? '') !== '';
  if (insecure) return byCredential ? {} : { validation_context: {} };
  const ca = (tls.caCertificates ?? '') === '' ? 'system' : tls.caCertificates;
  const crl = tls.caCrl ?? '';
  return {
    combined_validation_context: {
      default_validation_context: { ...exactNames(names), ...(crl === '' || byCredential ? {} : { crl: { filename: crl } }) },
      validation_context_sds_secret_config: byCredential ? caCredential(tls.credentialName ?? '', node) : fileSecret(`file-root:${ca}`),
    },
  };
};

const clientCertificate = ({ node }: Context, tls: ClientTLSSettings): ReturnType<typeof fileSecret> =>
  (tls.credentialName ?? '') === ''
    ? fileSecret(`file-cert:${tls.clientCertificate ?? ''}~${tls.privateKey ?? ''}`)
    : credential(tls.credentialName ?? '', node);

/** The client's address is told ahead of everything else, so the header goes around whatever else the socket does. */
export const proxyProtocol = (sockets: Cluster, setting: TrafficPolicy['proxyProtocol']): Cluster => {
  if (setting === undefined) return sockets;
  const wrap = (inner: TransportSocket): TransportSocket => upstreamProxyProtocol(setting.version ?? 'V1', inner);
  const { transport_socket: one, transport_socket_matches: several } = sockets;
  if (several !== undefined) {
    return {
      ...sockets,
      transport_socket_matches: several.map((m) => ({ ...m, transport_socket: wrap(m.transport_socket ?? rawBuffer) })),
    };
  }
  return { ...sockets, transport_socket: wrap(one ?? rawBuffer) };
};
