// How a DNS cluster asks: rates, families and servers. What is not honoured is refused by its path.

import { isIP } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { Address, CaresDnsResolverConfig, Cluster, DnsResolverOptions } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { configAs, typeNameOf } from '../extension-config.ts';
import { DNS_REFRESH_MS } from '../limits.ts';

export type DnsFamily = 'AUTO' | 'V4_ONLY' | 'V6_ONLY' | 'V4_PREFERRED' | 'ALL';

export interface DnsSettings {
  readonly refreshMs: number;
  readonly jitterMs: number;
  readonly respectTtl: boolean;
  /** After a failure: the first wait's bound and the longest's; undefined: as after an answer. */
  readonly failure: { readonly baseMs: number; readonly maxMs: number } | undefined;
  readonly family: DnsFamily;
  readonly servers: readonly string[];
}

const FAMILIES: readonly string[] = ['AUTO', 'V4_ONLY', 'V6_ONLY', 'V4_PREFERRED', 'ALL'];
const CARES = 'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig';
const GETADDRINFO = 'envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig';

export const compileDnsSettings = (cluster: Cluster): DnsSettings => {
  const family = String(cluster.dns_lookup_family ?? 'AUTO');
  if (!FAMILIES.includes(family)) throw new PlanError('dns_lookup_family', `${family} is not known`);
  if (cluster.use_tcp_for_dns_lookups === true) throw new PlanError('use_tcp_for_dns_lookups', 'not supported');
  const refreshMs = cluster.dns_refresh_rate === undefined ? DNS_REFRESH_MS : durationMs(cluster.dns_refresh_rate);
  if (refreshMs < 1) throw new PlanError('dns_refresh_rate', 'must be at least a millisecond');
  return {
    refreshMs,
    jitterMs: cluster.dns_jitter === undefined ? 0 : durationMs(cluster.dns_jitter),
    respectTtl: cluster.respect_dns_ttl ?? false,
    failure: failureRate(cluster),
    family: family as DnsFamily,
    servers: serversOf(cluster),
  };
};

const failureRate = (cluster: Cluster): DnsSettings['failure'] => {
  const rate = cluster.dns_failure_refresh_rate;
  if (rate === undefined) return undefined;
  const baseMs = durationMs(rate.base_interval ?? '0s');
  const maxMs = rate.max_interval === undefined ? baseMs * 10 : durationMs(rate.max_interval);
  if (baseMs < 1) throw new PlanError('dns_failure_refresh_rate.base_interval', 'must be at least a millisecond');
  if (maxMs < baseMs) throw new PlanError('dns_failure_refresh_rate.max_interval', 'must not be less than base_interval');
  return { baseMs, maxMs };
};

const serversOf = (cluster: Cluster): readonly string[] => {
  const typed = cluster.typed_dns_resolver_config;
  if (typed !== undefined) {
    const path = 'typed_dns_resolver_config.typed_config';
    const type = typeNameOf(typed.typed_config);
    if (type === GETADDRINFO) return [];
    if (type !== CARES) throw new PlanError(path, `${type} is not supported`);
    const config = configAs<CaresDnsResolverConfig>(typed.typed_config, path);
    if (config.use_resolvers_as_fallback === true) throw new PlanError(`${path}.use_resolvers_as_fallback`, 'not supported');
    if (config.filter_unroutable_families === true) throw new PlanError(`${path}.filter_unroutable_families`, 'not supported');
    checkOptions(config.dns_resolver_options, `${path}.dns_resolver_options`);
    return addresses(config.resolvers, `${path}.resolvers`);
  }
  const older = cluster.dns_resolution_config;
  if (older === undefined) return addresses(cluster.dns_resolvers, 'dns_resolvers');
  checkOptions(older.dns_resolver_options, 'dns_resolution_config.dns_resolver_options');
  return addresses(older.resolvers, 'dns_resolution_config.resolvers');
};

const checkOptions = (options: DnsResolverOptions | undefined, path: string): void => {
  if (options?.use_tcp_for_dns_lookups === true) throw new PlanError(`${path}.use_tcp_for_dns_lookups`, 'not supported');
  if (options?.no_default_search_domain === true) throw new PlanError(`${path}.no_default_search_domain`, 'not supported');
};

const addresses = (list: readonly Address[] | undefined, path: string): readonly string[] =>
  (list ?? []).map((address, i) => {
    const socket = address.socket_address;
    const ip = socket?.address ?? '';
    if (isIP(ip) === 0) throw new PlanError(`${path}[${i}].socket_address.address`, `${ip} is not an IP address`);
    const port = socket?.port_value ?? 53;
    return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
  });
