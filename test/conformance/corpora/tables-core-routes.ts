// Judges of tables/pilot_pkg_networking_core.json: virtual hosts of sidecars and gateways, clusters of the workload itself, listeners.

import { compareAge } from '../../../src/mesh/order.ts';
import { type Endpoint, NO_LOCALITY, type Service } from '../../../src/mesh/service.ts';
import { buildServiceIndex } from '../../../src/mesh/service-index.ts';
import { buildSidecarScopes } from '../../../src/mesh/sidecar-scope.ts';
import { buildSnapshot, type Snapshot } from '../../../src/mesh/snapshot.ts';
import { buildContext } from '../../../src/translate/context.ts';
import { planGatewayListeners } from '../../../src/translate/gateway-servers.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';
import { outboundRoutes } from '../../../src/translate/route-outbound.ts';
import { type ProxyConfig, translate } from '../../../src/translate/translate.ts';
import type { RouteConfiguration } from '../../../src/xds/gen/types.ts';
import { meshConfigOf, resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, type Row, row, rows, text, texts, type Verdict } from './case.ts';
import { proxyOf } from './corpus-mesh.ts';
import { serviceOf } from './service-rows.ts';

const WORKLOAD = '1.2.3.4';
const snapshotOf = (objects: readonly unknown[], services: readonly Service[], mesh: Row = {}): Snapshot => {
  const resources = objects.map((o) => resourceOf(o, 'default')).filter((r) => r !== undefined);
  const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf({ ...mesh }), clusterDomain: '' });
  const index = buildServiceIndex([...services].sort(compareAge));
  const input = { services: index, virtualServices: snapshot.virtualServices, meshConfig: snapshot.meshConfig };
  const sidecars = resources.filter((r) => r.kind === 'Sidecar');
  return { ...snapshot, services: index, scopes: buildSidecarScopes(sidecars as Parameters<typeof buildSidecarScopes>[0], input) };
};

const node = (type: string, namespace: string, dnsDomain: string, labels: Row = {}): ProxyNode =>
  proxyOf({ type, configNamespace: namespace, metadataNamespace: namespace, dnsDomain, ipAddresses: [WORKLOAD], labels });

const policy = (registryOnly: unknown): Row => ({ outboundTrafficPolicy: { mode: registryOnly === true ? 'REGISTRY_ONLY' : 'ALLOW_ANY' } });

const domainsOf = (rc: RouteConfiguration | undefined): Record<string, readonly string[]> =>
  Object.fromEntries((rc?.virtual_hosts ?? []).map((v) => [v.name ?? '', [...(v.domains ?? [])].sort()]));

export const sidecarHosts = (r: Row, fixtures: Row): Verdict => {
  const objects = [...rows(r['virtualServiceConfigs']), ...(r['sidecarConfig'] === null ? [] : [r['sidecarConfig']])];
  const snapshot = snapshotOf(objects, rows(fixtures['services']).map(serviceOf), policy(r['registryOnly']));
  const c = buildContext(snapshot, node('sidecar', 'not-default', 'default.example.org'));
  const expected = Object.entries(row(r['expectedHosts'])).map(([name, domains]) => [name, Object.keys(row(domains)).sort()]);
  return differs(domainsOf(outboundRoutes(c, text(r['routeName']))), Object.fromEntries(expected));
};

export const duplicateHosts = (r: Row): Verdict => {
  const config = Array.isArray(r['config']) ? rows(r['config']) : r['config'] === null ? [] : [r['config']];
  const snapshot = snapshotOf(config, rows(r['services']).map(serviceOf));
  const rc = outboundRoutes(buildContext(snapshot, node('sidecar', 'default', 'default.svc.cluster.local')), '80');
  const clusters = (rc.virtual_hosts ?? []).map((v) => {
    const action = v.routes?.[0]?.route;
    return [v.name ?? '', action?.cluster ?? action?.weighted_clusters?.clusters?.[0]?.name ?? ''];
  });
  const hosts = Object.entries(row(r['expectedHosts'])).map(([name, d]) => [name, texts(d).sort()]);
  return differs(domainsOf(rc), Object.fromEntries(hosts)) ?? differs(Object.fromEntries(clusters), row(r['expectedDestination']));
};

const gatewayConfig = (r: Row, services: readonly Service[], namespace: string): ProxyConfig => {
  // The proxy is one that every Gateway of the case selects.
  const gateways = rows(r['gateways']).map((g) => ({ ...g, spec: { ...row(g['spec']), selector: {} } }));
  const unprivileged = text(row(row(r['node'])['Metadata'])['UnprivilegedPod']);
  const proxy = { ...node('router', namespace, `${namespace}.svc.cluster.local`), metadata: { UNPRIVILEGED_POD: unprivileged } };
  return translate(snapshotOf([...gateways, ...rows(r['virtualServices'])], services), proxy);
};

export const gatewayHosts = (r: Row, fixtures: Row): Verdict => {
  const rc = gatewayConfig(r, [serviceOf(row(fixtures['exampleService']))], 'default').routes.find((x) => x.name === text(r['routeName']));
  const expected = Object.entries(row(r['expectedVirtualHostsHostPortStrip'])).map(([name, d]) => [name, texts(d).sort()]);
  const counts = (rc?.virtual_hosts ?? []).map((v) => [v.name ?? '', (v.routes ?? []).length]);
  const redirects = (rc?.virtual_hosts ?? []).some((v) => v.require_tls === 'ALL');
  return (
    differs(domainsOf(rc), Object.fromEntries(expected)) ??
    differs(Object.fromEntries(counts), row(r['expectedHTTPRoutes'])) ??
    differs(redirects, r['redirect'] === true)
  );
};

const endpoint = (port: number, namespace: string): Endpoint => ({
  address: WORKLOAD,
  port,
  labels: {},
  namespace,
  serviceAccount: '',
  mtls: false,
  locality: NO_LOCALITY,
  weight: 1,
  workload: 'app',
  ready: true,
});

export const gatewayListeners = (r: Row): Verdict => {
  const services = rows(row(r['node'])['ServiceTargets']).map((t) => {
    const port = row(t['Port']);
    const number = Number(row(port['ServicePort'])['Port'] ?? 0);
    const service = serviceOf({ ...row(t['Service']), Ports: [row(port['ServicePort'])] });
    return { ...service, endpoints: new Map([[number, [endpoint(Number(port['TargetPort'] ?? 0), 'testns')]]]) };
  });
  return differs(
    gatewayConfig(r, services, 'testns')
      .listeners.map((l) => l.name ?? '')
      .sort(),
    texts(r['expectedListeners']).sort(),
  );
};

/** What Istio counts of merged Gateways: ports by protocol, servers, servers by route configuration, Gateways. */
export const mergedGateways = (r: Row): Verdict => {
  const gateways = rows(r['gwConfig']).map((g) => ({ ...g, spec: { ...row(g['spec']), selector: {} } }));
  const plans = planGatewayListeners(buildContext(snapshotOf(gateways, []), node('router', 'default', '')));
  const servers = plans.flatMap((p) => p.servers);
  const routes: Record<string, number> = {};
  for (const s of servers) if (s.routeName !== '') routes[s.routeName] = (routes[s.routeName] ?? 0) + 1;
  return differs(
    {
      ports: new Set(plans.flatMap((p) => p.servers.map((s) => `${p.bind} ${p.port} ${s.server.port.protocol}`))).size,
      servers: servers.length,
      routes,
      gateways: new Set(servers.map((s) => s.gatewayKey)).size,
    },
    { ports: r['mergedServersNum'], servers: r['serverNum'], routes: r['serversForRouteNum'], gateways: r['gatewaysNum'] },
  );
};

export const inboundClusters = (r: Row): Verdict => {
  const byHost = new Map<string, Service>();
  for (const i of rows(r['instances'])) {
    const written = serviceOf(row(i['Service']));
    const known = byHost.get(written.host) ?? { ...written, name: written.host };
    const port = Number(row(i['ServicePort'])['Port'] ?? 0);
    const at = endpoint(Number(row(i['Endpoint'])['EndpointPort'] ?? 0), 'default');
    byHost.set(written.host, { ...known, endpoints: new Map([...known.endpoints, [port, [...(known.endpoints.get(port) ?? []), at]]]) });
  }
  const mesh = r['disableInboundPassthrough'] === true ? { inboundTrafficPolicy: { mode: 'LOCALHOST' } } : {};
  const snapshot = snapshotOf(rows(r['configs']), [...byHost.values()], mesh);
  const own = translate(snapshot, node('sidecar', 'default', 'default.svc.cluster.local')).clusters.filter((c) =>
    c.name?.startsWith('inbound|'),
  );
  const addresses = own.map((c) => {
    const address = c.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address;
    const at = address?.socket_address;
    return [
      c.name ?? '',
      at === undefined ? (address?.pipe === undefined ? null : [address.pipe.path]) : [`${at.address}:${at.port_value}`],
    ];
  });
  const told = own.flatMap((c) => {
    const services = rows(row(c.metadata?.filter_metadata?.['istio'])['services']);
    return services.length === 0 ? [] : [[c.name ?? '', services.map((s) => text(s['host'])).sort()]];
  });
  return differs(Object.fromEntries(addresses), row(r['clusters'])) ?? differs(Object.fromEntries(told), row(r['telemetry']));
};
