// A proxy's configuration as istioctl's tables: same columns, same words, so that a runbook's grep still finds its line.
import { X509Certificate } from 'node:crypto';
import type {
  Address,
  Cluster,
  ClusterStatus,
  FilterChain,
  FilterChainMatch,
  Listener,
  Route,
  RouteConfiguration,
} from '../xds/gen/types.ts';
import { field, objects, type SecretEntry, text } from './config-dump.ts';
import { table } from './output.ts';

/** `outbound|8080|v1|payment.production.svc.cluster.local` in its parts. */
export interface ClusterName {
  readonly direction: string;
  readonly port: string;
  readonly subset: string;
  readonly fqdn: string;
}

export const clusterName = (name: string): ClusterName => {
  const [direction, port, subset, fqdn] = name.split('|');
  if (direction === undefined || port === undefined || subset === undefined || fqdn === undefined)
    return { direction: '-', port: '-', subset: '-', fqdn: name };
  return { direction, port, subset: subset || '-', fqdn };
};

/** `/apis/…/namespaces/production/virtual-service/payment` as `payment.production`. */
const configOf = (metadata: unknown): string => {
  const path = text(field(metadata, 'filter_metadata', 'istio', 'config')).split('/');
  const [namespace, , name] = path.slice(-3);
  return name && namespace ? `${name}.${namespace}` : '';
};

export const clusterTable = (clusters: readonly Cluster[]): string =>
  table(
    ['SERVICE FQDN', 'PORT', 'SUBSET', 'DIRECTION', 'TYPE', 'DESTINATION RULE'],
    clusters
      .map((c) => {
        const { fqdn, port, subset, direction } = clusterName(c.name ?? '');
        return [fqdn, port, subset, direction, clusterType(c), configOf(c.metadata)];
      })
      .sort(byColumns),
  );

export const clusterType = (c: Cluster): string => {
  const custom = c.cluster_type?.name;
  return custom ?? `${c.type ?? 'STATIC'}`;
};

export const addressText = (address: Address | undefined): { readonly host: string; readonly port: string } => {
  const { socket_address: socket, pipe, envoy_internal_address: internal } = address ?? {};
  if (socket) return { host: socket.address ?? '', port: `${socket.port_value ?? 0}` };
  return { host: pipe?.path ? `unix://${pipe.path}` : `internal://${internal?.server_listener_name ?? ''}`, port: '0' };
};

export const listenerTable = (listeners: readonly Listener[]): string =>
  table(
    ['ADDRESSES', 'PORT', 'MATCH', 'DESTINATION'],
    listeners.flatMap((l) => {
      const { host, port } = addressText(l.address);
      const chains = [...(l.filter_chains ?? []), ...(l.default_filter_chain ? [l.default_filter_chain] : [])];
      return chains.map((chain) => [host, port, matchText(chain.filter_chain_match), destinationText(chain)]);
    }),
  );

const matchText = (match: FilterChainMatch | undefined): string => {
  const parts: string[] = [];
  if (match?.server_names?.length) parts.push(`SNI: ${match.server_names.join(',')}`);
  if (match?.transport_protocol) parts.push(`Trans: ${match.transport_protocol}`);
  if (match?.application_protocols?.length) parts.push(`App: ${match.application_protocols.join(',')}`);
  const ranges = (match?.prefix_ranges ?? []).map((r) => `${r.address_prefix}/${r.prefix_len ?? 0}`);
  const port = match?.destination_port === undefined ? '' : `:${match.destination_port}`;
  if (ranges.length > 0 || port !== '') parts.push(`Addr: ${ranges.join(',') || '*'}${port}`);
  return parts.length === 0 ? 'ALL' : parts.join('; ');
};

const destinationText = (chain: FilterChain): string => {
  for (const filter of chain.filters ?? []) {
    const config = filter.typed_config;
    const route = text(field(config, 'rds', 'route_config_name'));
    if (route !== '') return `Route: ${route}`;
    const inline = field(config, 'route_config');
    if (inline !== undefined) return `Inline Route: ${inlineText(inline)}`;
    const cluster = text(field(config, 'cluster'));
    if (cluster !== '') return cluster.includes('|') ? `Cluster: ${cluster}` : cluster;
    const weighted = objects(field(config, 'weighted_clusters', 'clusters')).map((c) => text(c['name']));
    if (weighted.length > 0) return `Clusters: ${weighted.join(', ')}`;
  }
  return 'Non-HTTP/Non-TCP';
};

const inlineText = (inline: unknown): string => {
  const routes = objects(field(inline, 'virtual_hosts')).flatMap((v) => objects(v['routes']));
  return [...new Set(routes.map((r) => routeMatchText(r as Route)))].join(', ') || '-';
};

export const routeTable = (routes: readonly RouteConfiguration[]): string =>
  table(
    ['NAME', 'VHOST NAME', 'DOMAINS', 'MATCH', 'VIRTUAL SERVICE'],
    routes.flatMap((rc) =>
      (rc.virtual_hosts ?? []).flatMap((v) =>
        (v.routes ?? []).map((r) => [rc.name ?? '', v.name ?? '', domainsText(v.domains ?? []), routeMatchText(r), virtualServiceText(r)]),
      ),
    ),
  );

/** istioctl shows one domain and counts the rest. */
const domainsText = (domains: readonly string[]): string => {
  const withoutPort = domains.filter((d) => !/:\d+$/.test(d));
  const [first = '', ...rest] = withoutPort.length > 0 ? withoutPort : domains;
  return rest.length === 0 ? first : `${first}, ${rest[0]}${rest.length > 1 ? ` + ${rest.length - 1} more...` : ''}`;
};

export const routeMatchText = ({ match }: Route): string => {
  const parts: string[] = [];
  if (match?.prefix !== undefined) parts.push(`${match.prefix}*`);
  if (match?.path !== undefined) parts.push(match.path);
  if (match?.path_separated_prefix !== undefined) parts.push(`PathPrefix:${match.path_separated_prefix}`);
  if (match?.safe_regex?.regex !== undefined) parts.push(`regex ${match.safe_regex.regex}`);
  for (const h of match?.headers ?? []) parts.push(`${h.invert_match ? 'not ' : ''}header ${h.name}`);
  for (const q of match?.query_parameters ?? []) parts.push(`query ${q.name}`);
  return parts.join(' ') || '/*';
};

const virtualServiceText = (r: Route): string =>
  configOf(r.metadata) || (r.direct_response?.status === undefined ? '' : `${r.direct_response.status}`);

export const endpointTable = (clusters: readonly ClusterStatus[]): string =>
  table(
    ['ENDPOINT', 'STATUS', 'OUTLIER CHECK', 'CLUSTER'],
    clusters
      .flatMap((c) =>
        (c.host_statuses ?? []).map((h) => {
          const { host, port } = addressText(h.address);
          const health = h.health_status;
          const sick = health?.failed_active_health_check || (health?.eds_health_status ?? 'HEALTHY') !== 'HEALTHY';
          const status = sick ? `${health?.eds_health_status ?? 'UNHEALTHY'}` : 'HEALTHY';
          return [host.includes('://') ? host : `${host}:${port}`, status, health?.failed_outlier_check ? 'FAILED' : 'OK', c.name ?? ''];
        }),
      )
      .sort(byColumns),
  );

export const secretTable = (secrets: readonly SecretEntry[], nowMs: number): string =>
  table(
    ['RESOURCE NAME', 'TYPE', 'STATUS', 'VALID CERT', 'SERIAL NUMBER', 'NOT AFTER', 'NOT BEFORE'],
    secrets.map(({ name, state, secret }) => {
      const chain = text(field(secret, 'tls_certificate', 'certificate_chain', 'inline_bytes'));
      const [bound] = objects(field(secret, 'validation_context', 'custom_validator_config', 'typed_config', 'trust_domains'));
      const roots = text(field(secret, 'validation_context', 'trusted_ca', 'inline_bytes') ?? field(bound, 'trust_bundle', 'inline_bytes'));
      const certificate = parseCertificate(Buffer.from(chain || roots, 'base64').toString('utf8'));
      const type = chain !== '' ? 'Cert Chain' : 'CA';
      if (!certificate) return [name, type, state, 'false', '', '', ''];
      const { serialNumber, validFrom, validTo } = certificate;
      const valid = Date.parse(validFrom) <= nowMs && nowMs < Date.parse(validTo);
      return [name, type, state, `${valid}`, serialNumber.toLowerCase(), isoSeconds(validTo), isoSeconds(validFrom)];
    }),
  );

const parseCertificate = (pem: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
};

const isoSeconds = (date: string): string => new Date(date).toISOString().replace(/\.\d+Z$/, 'Z');

const byColumns = (a: readonly string[], b: readonly string[]): number => (a.join('\0') < b.join('\0') ? -1 : 1);
