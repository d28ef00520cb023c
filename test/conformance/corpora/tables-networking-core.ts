// tables/pilot_pkg_networking_core.json and …_core_route.json: virtual hosts, inbound clusters, gateway listeners, static matches.

import type { ConnectionPoolSettings } from '../../../src/api/specs.ts';
import type { Service } from '../../../src/mesh/service.ts';
import { upstreamHttp } from '../../../src/translate/connection-pool.ts';
import type { Context } from '../../../src/translate/context.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';
import { serviceDomains } from '../../../src/translate/route-domains.ts';
import { concernsProxy } from '../../../src/translate/route-match.ts';
import { concernsL4 } from '../../../src/translate/tcp-chains.ts';
import { differs, type Row, row, text, texts, type Verdict } from './case.ts';
import { table } from './table.ts';
import { duplicateHosts, gatewayHosts, gatewayListeners, inboundClusters, sidecarHosts } from './tables-core-routes.ts';
import { upstreamTls } from './tables-core-tls.ts';

const domains = (r: Row): Verdict => {
  const raw = row(r['service']);
  const node = row(r['node']);
  const addresses = texts(row(row(raw['ClusterVIPs'])['Addresses'])[text(row(node['Metadata'])['ClusterID'])]);
  const service = { host: text(raw['Hostname']), addresses, aliases: [], resolution: 'listed', registry: 'External' } as unknown as Service;
  const got = serviceDomains(service, { dnsDomain: text(node['DNSDomain']), ipAddresses: texts(node['IPAddresses']) });
  return differs([...got.domains].sort(), texts(r['want']).sort());
};

const h2Upgrade = (r: Row): Verdict => {
  const protocol = text(row(r['port'])['Protocol']) === 'HTTP' ? 'HTTP' : 'UNSUPPORTED';
  const pool = row(r['connectionPool']) as ConnectionPoolSettings;
  return differs(upstreamHttp(protocol, pool, row(r['mesh'])['h2UpgradePolicy'] === 'UPGRADE') === 'http2', r['upgrade']);
};

const l4Match = (r: Row): Verdict => {
  const args = row(r['args']);
  const context = { node: { namespace: text(args['namespace']), labels: {} } } as unknown as Context;
  const match = { sniHosts: [], ...row(args['match']) };
  return differs(concernsL4(match, context, ['mesh'], Number(args['port'] ?? 0)), r['want']);
};

export const networkingCore = table({
  TestGenerateVirtualHostDomains: domains,
  TestSidecarOutboundHTTPRouteConfig: sidecarHosts,
  TestSidecarOutboundHTTPRouteConfigWithDuplicateHosts: duplicateHosts,
  TestGatewayHTTPRouteConfig: gatewayHosts,
  TestInboundClusters: inboundClusters,
  TestMatchTLS: l4Match,
  TestMatchTCP: l4Match,
  TestBuildAutoMtlsSettings: upstreamTls,
  TestBuildGatewayListeners: gatewayListeners,
  TestShouldH2Upgrade: h2Upgrade,
});

export const networkingCoreRoute = table({
  TestSourceMatchHTTP: (r) => {
    const args = row(r['args']);
    const node = { namespace: text(args['proxyNamespace']), labels: {} } as unknown as ProxyNode;
    return differs(concernsProxy(row(args['match']), node, ['mesh'], 0), r['want']);
  },
});
