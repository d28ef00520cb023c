// Listeners of a gateway: HTTP by route configuration, TLS by server name, TCP straight to the rule's destinations.

import type { ServerTLSSettings } from '../api/specs.ts';
import { serverHosts, terminatesTls } from '../mesh/gateways.ts';
import type { CommonTlsContext, FilterChain, Listener, RouteConfiguration, TlsParameters, TransportSocket } from '../xds/gen/types.ts';
import { listenerAccessLogs } from './access-log.ts';
import type { Context } from './context.ts';
import { gatewayRoutes, intersection } from './gateway-routes.ts';
import { type BoundServer, type GatewayListenerPlan, planGatewayListeners } from './gateway-servers.ts';
import { connectionManager } from './http-connection.ts';
import { TLS_INSPECTOR } from './inspectors.ts';
import { concernsL4, matchKey, TRANSPORT_SOCKET_TIMEOUT } from './tcp-chains.ts';
import { tcpToDestinations } from './tcp-proxy.ts';
import { downstreamTls, exactNames, fileSecret, meshSecret, serverAlpn, workloadServerTls } from './tls-context.ts';

export interface GatewayConfig {
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
}

export const gatewayConfig = (c: Context): GatewayConfig => {
  const listeners: Listener[] = [];
  const routes = new Map<string, BoundServer[]>();
  for (const plan of planGatewayListeners(c)) {
    const chains = chainsOf(c, plan);
    if (chains.length === 0) continue;
    for (const s of plan.servers) {
      if (s.routeName !== '') routes.set(s.routeName, [...(routes.get(s.routeName) ?? []), s]);
    }
    listeners.push({
      name: `${plan.bind}_${plan.port}`,
      address: { socket_address: { address: plan.bind, port_value: plan.port } },
      filter_chains: chains,
      ...(plan.kind === 'tls' ? { listener_filters: [TLS_INSPECTOR] } : {}),
      traffic_direction: 'OUTBOUND',
      access_log: listenerAccessLogs(c.accessLogs),
      max_connections_to_accept_per_socket_event: 1,
    });
  }
  return { listeners, routes: [...routes.entries()].map(([name, servers]) => gatewayRoutes(c, name, servers)) };
};

const chainsOf = (c: Context, plan: GatewayListenerPlan): readonly FilterChain[] => {
  const stat = `outbound_${plan.bind}_${plan.port}`;
  const first = plan.servers[0];
  if (plan.kind === 'http' && first !== undefined) {
    return [
      {
        filters: [connectionManager(c, 'gateway', stat, { rds: first.routeName })],
        transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
      },
    ];
  }
  const chains = plan.servers.flatMap((s) => {
    if (s.routeName === '') return tcpChains(c, s);
    const chain: FilterChain = {
      ...serverNames(serverHosts(s.server)),
      filters: [connectionManager(c, 'gateway', stat, { rds: s.routeName })],
      transport_socket: serverTls(c, s.server.tls ?? {}),
      transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT,
    };
    return [chain];
  });
  const seen = new Set<string>();
  return chains.filter((ch) => {
    const key = matchKey(ch);
    return seen.has(key) ? false : seen.add(key);
  });
};

/** `*` is any name, so no condition. */
const serverNames = (hosts: readonly string[]): FilterChain =>
  hosts.includes('*') || hosts.length === 0 ? {} : { filter_chain_match: { server_names: hosts } };

/** TCP rules behind plain or terminated connections, TLS rules by server name behind passed-through ones. */
const tcpChains = (c: Context, s: BoundServer): readonly FilterChain[] => {
  const port = s.server.port.number;
  const gateways = [s.gatewayKey];
  const rules = c.snapshot.virtualServices.for(c.node.namespace, s.gatewayKey).filter((r) => intersection(s, r).length > 0);
  const common = { transport_socket_connect_timeout: TRANSPORT_SOCKET_TIMEOUT };
  if (s.server.tls !== undefined && !terminatesTls(s.server)) {
    return rules.flatMap((rule) =>
      rule.tls.flatMap((t) =>
        t.match
          .filter((m) => concernsL4(m, c, gateways, port))
          .map((m) => ({ ...serverNames(m.sniHosts), filters: tcpToDestinations(c, 'gateway', rule, t.route ?? [], port), ...common })),
      ),
    );
  }
  for (const rule of rules) {
    const route = rule.tcp.find((t) => (t.match ?? []).length === 0 || (t.match ?? []).some((m) => concernsL4(m, c, gateways, port)));
    if (route === undefined) continue;
    const tls = terminatesTls(s.server)
      ? { ...serverNames(serverHosts(s.server)), transport_socket: serverTls(c, s.server.tls ?? {}) }
      : {};
    return [{ ...tls, filters: tcpToDestinations(c, 'gateway', rule, route.route ?? [], port), ...common }];
  }
  return [];
};

const VERSIONS: Readonly<Record<string, TlsParameters['tls_minimum_protocol_version']>> = {
  TLSV1_0: 'TLSv1_0',
  TLSV1_1: 'TLSv1_1',
  TLSV1_2: 'TLSv1_2',
  TLSV1_3: 'TLSv1_3',
};

const serverTls = (c: Context, tls: ServerTLSSettings): TransportSocket => {
  const mode = tls.mode ?? 'PASSTHROUGH';
  if (mode === 'ISTIO_MUTUAL') {
    const trustDomains = [c.mesh.trustDomain, ...c.mesh.trustDomainAliases];
    return workloadServerTls({ trustDomains, http2: c.node.http2, exchangesMetadata: false });
  }
  const credential = tls.credentialName ?? '';
  const params: TlsParameters = {
    ...(tls.minProtocolVersion === undefined || tls.minProtocolVersion === 'TLS_AUTO'
      ? {}
      : { tls_minimum_protocol_version: VERSIONS[tls.minProtocolVersion] }),
    ...(tls.maxProtocolVersion === undefined || tls.maxProtocolVersion === 'TLS_AUTO'
      ? {}
      : { tls_maximum_protocol_version: VERSIONS[tls.maxProtocolVersion] }),
    ...(tls.cipherSuites === undefined || tls.cipherSuites.length === 0 ? {} : { cipher_suites: tls.cipherSuites }),
  };
  const asksForClient = mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL';
  const common: CommonTlsContext = {
    ...(Object.keys(params).length === 0 ? {} : { tls_params: params }),
    alpn_protocols: serverAlpn(c.node.http2),
    tls_certificate_sds_secret_configs: [
      credential === ''
        ? fileSecret(`file-cert:${tls.serverCertificate ?? ''}~${tls.privateKey ?? ''}`)
        : meshSecret(`kubernetes://${credential}`),
    ],
    ...(asksForClient
      ? {
          combined_validation_context: {
            default_validation_context: exactNames(tls.subjectAltNames ?? []),
            validation_context_sds_secret_config:
              credential === '' ? fileSecret(`file-root:${tls.caCertificates ?? ''}`) : meshSecret(`kubernetes://${credential}-cacert`),
          },
        }
      : {}),
  };
  return downstreamTls({ common_tls_context: common, require_client_certificate: mode === 'MUTUAL' });
};
