// Where the resources of a ConfigSource come from, as one of three kinds with a key to share streams by.
// What Skein does not speak (REST, Google's own gRPC client) is refused by name.
import type { ApiConfigSource, Bootstrap, Cluster, ConfigSource, GrpcService, Listener } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';

export type Source =
  | { readonly kind: 'ads' }
  | ({ readonly kind: 'grpc' } & ApiSource)
  | { readonly kind: 'file'; readonly path: string; readonly watchedDirectory: string | undefined };

/** A server of configuration, and whether it is to be asked incrementally. */
export interface ApiSource {
  readonly cluster: string;
  readonly service: GrpcService;
  readonly delta: boolean;
}

/** A configuration source that cannot be followed. */
export class SourceError extends Error {}

export const parseSource = (config: ConfigSource, path: string): Source => {
  if (config.ads || config.self) return { kind: 'ads' };
  if (config.api_config_source) return { kind: 'grpc', ...parseApiSource(config.api_config_source, `${path}.api_config_source`) };
  const file = config.path_config_source?.path ?? config.path;
  if (file) return { kind: 'file', path: file, watchedDirectory: config.path_config_source?.watched_directory?.path };
  throw new SourceError(`${path}: names no source`);
};

/** The cluster of an ApiConfigSource: gRPC with `envoy_grpc` only. */
export const parseApiSource = (api: ApiConfigSource, path: string): ApiSource => {
  const type = api.api_type;
  const delta = isDelta(api);
  if (type !== 'GRPC' && type !== 'AGGREGATED_GRPC' && !delta) {
    const named = String(type ?? 'DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE');
    throw new SourceError(`${path}.api_type: ${named} is not supported, use GRPC or DELTA_GRPC`);
  }
  const service = api.grpc_services?.[0];
  const cluster = service?.envoy_grpc?.cluster_name;
  if (!service || !cluster) throw new SourceError(`${path}.grpc_services: wants one service with envoy_grpc.cluster_name`);
  return { cluster, service, delta };
};

/** Single names can be asked for. */
export const isDelta = ({ api_type: type }: ApiConfigSource): boolean => type === 'DELTA_GRPC' || type === 'AGGREGATED_DELTA_GRPC';

/** Names of the clusters that anything in a bootstrap calls over gRPC. */
export const grpcClusters = (bootstrap: Bootstrap): ReadonlySet<string> => {
  const names = new Set<string>();
  JSON.stringify(bootstrap, (key, value: unknown) => {
    const name = key === 'envoy_grpc' ? (value as { readonly cluster_name?: string } | undefined)?.cluster_name : undefined;
    if (name !== undefined) names.add(name);
    return value;
  });
  return names;
};

export const sourceKey = (source: Source): string =>
  source.kind === 'ads' ? 'ads' : source.kind === 'grpc' ? `grpc:${source.cluster}${source.delta ? ' delta' : ''}` : `file:${source.path}`;

/** `retry_policy.retry_back_off` of the stream's service, for reconnects; undefined: Envoy's 500 ms up to 30 s. */
export const reconnectBackoff = (service: GrpcService): { readonly baseMs: number; readonly maxMs: number } | undefined => {
  const policy = service.envoy_grpc?.retry_policy?.retry_back_off ?? service.retry_policy?.retry_back_off;
  const baseMs = durationMs(policy?.base_interval);
  if (baseMs === undefined) return undefined;
  return { baseMs, maxMs: durationMs(policy?.max_interval) ?? baseMs * 10 };
};

/** Envoy's default; 0 means to wait for ever. */
const INITIAL_FETCH_TIMEOUT_MS = 15_000;
export const initialFetchTimeoutMs = (config: ConfigSource | undefined): number =>
  durationMs(config?.initial_fetch_timeout) ?? INITIAL_FETCH_TIMEOUT_MS;

/** Name under which a cluster's endpoints are asked for → where. */
export const endpointSources = (clusters: Iterable<{ readonly config: Cluster }>): Map<string, ConfigSource> => {
  const out = new Map<string, ConfigSource>();
  for (const { config } of clusters) {
    const eds = config.eds_cluster_config?.eds_config;
    if (config.type === 'EDS' && eds) out.set(config.eds_cluster_config?.service_name || (config.name ?? ''), eds);
  }
  return out;
};

/** Route configuration name → where the listener that names it wants it from. */
export const routeSources = (listeners: Iterable<{ readonly config: Listener }>): Map<string, ConfigSource> => {
  const out = new Map<string, ConfigSource>();
  for (const { config } of listeners) {
    for (const chain of [...(config.filter_chains ?? []), config.default_filter_chain]) {
      for (const filter of chain?.filters ?? []) {
        const rds = (filter.typed_config as { readonly rds?: RdsReference } | undefined)?.rds;
        if (rds?.route_config_name && rds.config_source) out.set(rds.route_config_name, rds.config_source);
      }
    }
  }
  return out;
};

interface RdsReference {
  readonly route_config_name?: string;
  readonly config_source?: ConfigSource;
}
