// A proxy's /config_dump and /clusters taken apart into lists of Envoy's own types, in proto3-JSON shape. Works on the dump of
// any Envoy-like proxy; a section that is missing is an empty list.
import type { Cluster, ClusterLoadAssignment, ClusterStatus, Listener, RouteConfiguration } from '../xds/gen/types.ts';

export type Json = { readonly [key: string]: unknown };

export interface SecretEntry {
  readonly name: string;
  readonly state: 'ACTIVE' | 'WARMING';
  readonly secret: Json;
}

export interface ConfigDump {
  readonly listeners: readonly Listener[];
  readonly routes: readonly RouteConfiguration[];
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly ClusterLoadAssignment[];
  readonly secrets: readonly SecretEntry[];
  readonly bootstrap: Json | undefined;
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

export const objects = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.filter(isObject) : []);

/** `field(o, 'a', 'b')` is `o.a.b`, undefined where the path ends early. */
export const field = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), value);

export const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export const parseConfigDump = (json: unknown): ConfigDump => {
  const sections = objects(field(json, 'configs'));
  const section = (name: string): Json | undefined => sections.find((s) => text(s['@type']).endsWith(`.${name}`));
  const listeners = section('ListenersConfigDump');
  const routes = section('RoutesConfigDump');
  const clusters = section('ClustersConfigDump');
  const endpoints = section('EndpointsConfigDump');
  const bootstrap = field(section('BootstrapConfigDump'), 'bootstrap');
  return {
    listeners: [
      ...inside(listeners, 'static_listeners', ['listener']),
      ...inside(listeners, 'dynamic_listeners', ['active_state', 'listener']),
    ] as readonly Listener[],
    routes: [
      ...inside(routes, 'static_route_configs', ['route_config']),
      ...inside(routes, 'dynamic_route_configs', ['route_config']),
    ] as readonly RouteConfiguration[],
    clusters: [
      ...inside(clusters, 'static_clusters', ['cluster']),
      ...inside(clusters, 'dynamic_active_clusters', ['cluster']),
      ...inside(clusters, 'dynamic_warming_clusters', ['cluster']),
    ] as readonly Cluster[],
    endpoints: [
      ...inside(endpoints, 'static_endpoint_configs', ['endpoint_config']),
      ...inside(endpoints, 'dynamic_endpoint_configs', ['endpoint_config']),
    ] as readonly ClusterLoadAssignment[],
    secrets: secretsOf(section('SecretsConfigDump')),
    bootstrap: isObject(bootstrap) ? bootstrap : undefined,
  };
};

/** The wrapped objects of one list of a section, without the list's envelope. */
const inside = (section: Json | undefined, list: string, path: readonly string[]): readonly Json[] =>
  objects(field(section, list)).flatMap((entry) => {
    const value = field(entry, ...path);
    return isObject(value) ? [value] : [];
  });

const secretsOf = (section: Json | undefined): readonly SecretEntry[] => {
  const list = (name: string, state: SecretEntry['state']): readonly SecretEntry[] =>
    objects(field(section, name)).map((entry) => {
      const secret = field(entry, 'secret');
      return { name: text(entry['name']), state, secret: isObject(secret) ? secret : {} };
    });
  return [...list('static_secrets', 'ACTIVE'), ...list('dynamic_active_secrets', 'ACTIVE'), ...list('dynamic_warming_secrets', 'WARMING')];
};

/** `/clusters?format=json`. */
export const parseClusters = (json: unknown): readonly ClusterStatus[] =>
  objects(field(json, 'cluster_statuses')) as readonly ClusterStatus[];
