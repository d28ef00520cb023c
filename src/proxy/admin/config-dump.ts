// GET /config_dump: everything the proxy was configured with, in envoy.admin.v3's messages. Reads, never changes.
import { type TypeName, typeUrl } from '../../xds/codec.ts';
import { toJsonNamed } from '../../xds/json.ts';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceType,
  ROUTE_TYPE,
  SECRET_TYPE,
} from '../../xds/resource-types.ts';
import type { ResourceRecord } from '../xds/resource-store.ts';
import { type AdminContext, type AdminResponse, json, text } from './admin-context.ts';
import { redact } from './redact.ts';

type Message = Record<string, unknown>;
/** One message of the dump; `names` tells the name of an element of one of its lists. */
type Dump = { readonly '@type': string; readonly [field: string]: unknown };

export const configDump = (context: AdminContext, query: URLSearchParams): AdminResponse => {
  const names = nameFilter(query.get('name_regex'));
  if (names === undefined) return text('Error while parsing name_regex from /config_dump request\n', 400);
  const dumps = allDumps(context, query.has('include_eds') || query.get('resource')?.includes('endpoint_configs') === true, names);
  const resource = query.get('resource');
  const mask = query
    .get('mask')
    ?.split(',')
    .filter((m) => m !== '');
  const configs = resource === null ? dumps : onlyResource(dumps, resource);
  if (configs === undefined) return text(`${resource} not found in config dump\n`, 404);
  const shown = (mask ? configs.map((c) => masked(c, mask)) : configs).map(withoutEmpty);
  return json(toJsonNamed('envoy.admin.v3.ConfigDump', { configs: redact(shown) }));
};

/** Envoy prints no empty lists. */
const withoutEmpty = (dump: Dump): Dump =>
  Object.fromEntries(Object.entries(dump).filter(([, v]) => !Array.isArray(v) || v.length > 0)) as Dump;

/** Undefined when the expression is malformed. */
const nameFilter = (pattern: string | null): ((name: string) => boolean) | undefined => {
  if (pattern === null || pattern === '') return () => true;
  try {
    const regex = new RegExp(`^(?:${pattern})$`);
    return (name) => regex.test(name);
  } catch {
    return undefined;
  }
};

const allDumps = (context: AdminContext, withEndpoints: boolean, names: (name: string) => boolean): Dump[] => [
  bootstrapDump(context),
  clustersDump(context, names),
  ...(withEndpoints ? [endpointsDump(context, names)] : []),
  listenersDump(context, names),
  { '@type': typeUrl('envoy.admin.v3.ScopedRoutesConfigDump') },
  routesDump(context, names),
  secretsDump(context, names),
  ...extensionsDump(context, names),
];

const bootstrapDump = (context: AdminContext): Dump => ({
  '@type': typeUrl('envoy.admin.v3.BootstrapConfigDump'),
  bootstrap: context.bootstrap,
  last_updated: iso(context.startedAtMs),
});

const clustersDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump => {
  const fixed: Message[] = [];
  const active: Message[] = [];
  const warming: Message[] = [];
  for (const cluster of dataPlane.clusters()) {
    if (!names(cluster.name)) continue;
    const record = store.record(CLUSTER_TYPE.url, cluster.name);
    const shown = { cluster: asAny(CLUSTER_TYPE, cluster.config), last_updated: updated(record) };
    if (record?.isStatic) fixed.push(shown);
    else (cluster.warm ? active : warming).push({ version_info: record?.version, ...shown, ...errorState(CLUSTER_TYPE, record) });
  }
  warming.push(...refusedOnly(store.records(CLUSTER_TYPE.url), names, CLUSTER_TYPE));
  return {
    '@type': typeUrl('envoy.admin.v3.ClustersConfigDump'),
    version_info: store.version(CLUSTER_TYPE.url),
    static_clusters: fixed,
    dynamic_active_clusters: active,
    dynamic_warming_clusters: warming,
  };
};

const endpointsDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump => {
  const fixed: Message[] = [];
  const dynamic: Message[] = [];
  for (const { name, config, assignment } of dataPlane.clusters()) {
    if (!assignment || !names(name)) continue;
    const record = config.type === 'EDS' ? store.record(ENDPOINT_TYPE.url, assignment.cluster_name ?? name) : undefined;
    const shown = { endpoint_config: asAny(ENDPOINT_TYPE, { ...assignment, cluster_name: assignment.cluster_name ?? name }) };
    if (record)
      dynamic.push({ version_info: record.version, last_updated: updated(record), ...shown, ...errorState(ENDPOINT_TYPE, record) });
    else fixed.push({ last_updated: updated(store.record(CLUSTER_TYPE.url, name)), ...shown });
  }
  return {
    '@type': typeUrl('envoy.admin.v3.EndpointsConfigDump'),
    static_endpoint_configs: fixed,
    dynamic_endpoint_configs: dynamic,
  };
};

const listenersDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump => {
  const fixed: Message[] = [];
  const dynamic: Message[] = [];
  const settled = new Set<string>();
  for (const listener of dataPlane.listeners()) {
    if (!names(listener.name)) continue;
    const stored = store.record(LISTENER_TYPE.url, listener.name);
    const record = inForce(stored, listener.config);
    if (record !== stored) settled.add(listener.name);
    const shown = { listener: asAny(LISTENER_TYPE, listener.config), last_updated: updated(record) };
    if (record?.isStatic) fixed.push(shown);
    else {
      const state = { version_info: record?.version, ...shown };
      dynamic.push({
        name: listener.name,
        ...(listener.warm ? { active_state: state } : { warming_state: state }),
        ...errorState(LISTENER_TYPE, record),
      });
    }
  }
  for (const record of store.records(LISTENER_TYPE.url)) {
    if (!record.accepted && names(record.name) && !settled.has(record.name))
      dynamic.push({ name: record.name, ...errorState(LISTENER_TYPE, record) });
  }
  return {
    '@type': typeUrl('envoy.admin.v3.ListenersConfigDump'),
    version_info: store.version(LISTENER_TYPE.url),
    static_listeners: fixed,
    dynamic_listeners: dynamic,
  };
};

const routesDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump => {
  const fixed: Message[] = [];
  const dynamic: Message[] = [];
  const seen = new Set<string>();
  for (const routes of dataPlane.routes()) {
    const name = routes.name ?? '';
    const record = store.record(ROUTE_TYPE.url, name);
    if (!record || !names(name)) continue;
    seen.add(name);
    dynamic.push({
      version_info: record.version,
      route_config: asAny(ROUTE_TYPE, routes),
      last_updated: updated(record),
      ...errorState(ROUTE_TYPE, record),
    });
  }
  for (const listener of dataPlane.listeners()) {
    const record = store.record(LISTENER_TYPE.url, listener.name);
    for (const chain of [...(listener.config.filter_chains ?? []), listener.config.default_filter_chain]) {
      for (const filter of chain?.filters ?? []) {
        const inline = (filter.typed_config as { readonly route_config?: { readonly name?: string } } | undefined)?.route_config;
        if (inline && names(inline.name ?? '')) fixed.push({ route_config: asAny(ROUTE_TYPE, inline), last_updated: updated(record) });
      }
    }
  }
  dynamic.push(...refusedOnly(store.records(ROUTE_TYPE.url), (n) => names(n) && !seen.has(n), ROUTE_TYPE));
  return { '@type': typeUrl('envoy.admin.v3.RoutesConfigDump'), static_route_configs: fixed, dynamic_route_configs: dynamic };
};

const secretsDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump => {
  const fixed: Message[] = [];
  const active: Message[] = [];
  const warming: Message[] = [];
  const seen = new Set<string>();
  for (const secret of dataPlane.secrets()) {
    const name = secret.name ?? '';
    seen.add(name);
    if (!names(name)) continue;
    const record = store.record(SECRET_TYPE.url, name);
    const shown = { name, last_updated: updated(record), secret: asAny(SECRET_TYPE, secret) };
    if (record?.isStatic) fixed.push(shown);
    else active.push({ ...shown, version_info: record?.version, ...errorState(SECRET_TYPE, record) });
  }
  for (const name of dataPlane.referencedSecrets().keys()) {
    if (!seen.has(name) && names(name)) warming.push({ name, ...errorState(SECRET_TYPE, store.record(SECRET_TYPE.url, name)) });
  }
  return {
    '@type': typeUrl('envoy.admin.v3.SecretsConfigDump'),
    static_secrets: fixed,
    dynamic_active_secrets: active,
    dynamic_warming_secrets: warming,
  };
};

/** Shown where there are any. */
const extensionsDump = ({ dataPlane, store }: AdminContext, names: (name: string) => boolean): Dump[] => {
  const filters = [...dataPlane.extensions()].flatMap((extension) => {
    const name = extension.name ?? '';
    if (!names(name)) return [];
    const record = store.record(EXTENSION_TYPE.url, name);
    const shown = { version_info: record?.version, ecds_filter: asAny(EXTENSION_TYPE, extension), last_updated: updated(record) };
    return [{ ...shown, ...errorState(EXTENSION_TYPE, record) }];
  });
  return filters.length === 0 ? [] : [{ '@type': typeUrl('envoy.admin.v3.EcdsConfigDump'), ecds_filters: filters }];
};

/** What was refused for its address and has got it since is as good as accepted. */
const inForce = (record: ResourceRecord | undefined, config: object): ResourceRecord | undefined => {
  const refusal = record?.refusal;
  if (record === undefined || refusal === undefined || refusal.resource !== config) return record;
  return { ...record, version: refusal.version, updatedAtMs: refusal.atMs, accepted: true, refusal: undefined };
};

/** Resources of which every attempt was refused: only their error is there to show. */
const refusedOnly = (records: Iterable<ResourceRecord>, names: (name: string) => boolean, type: ResourceType): Message[] => {
  const out: Message[] = [];
  for (const record of records) if (!record.accepted && names(record.name)) out.push(errorState(type, record));
  return out;
};

const errorState = (type: ResourceType, record: ResourceRecord | undefined): Message => {
  const refusal = record?.refusal;
  if (!refusal) return {};
  return {
    error_state: {
      failed_configuration: refusal.resource ? asAny(type, refusal.resource) : undefined,
      last_update_attempt: iso(refusal.atMs),
      details: refusal.details,
      version_info: refusal.version,
    },
  };
};

const asAny = (type: ResourceType, resource: object): Message => ({ '@type': type.url, ...resource });
const iso = (ms: number): string => new Date(ms).toISOString();
const updated = (record: ResourceRecord | undefined): string | undefined => (record ? iso(record.updatedAtMs) : undefined);

/** Types of the elements of each list that `?resource=` may name. */
const ELEMENT_TYPES: { readonly [field: string]: TypeName } = {
  static_clusters: 'envoy.admin.v3.ClustersConfigDump.StaticCluster',
  dynamic_active_clusters: 'envoy.admin.v3.ClustersConfigDump.DynamicCluster',
  dynamic_warming_clusters: 'envoy.admin.v3.ClustersConfigDump.DynamicCluster',
  static_endpoint_configs: 'envoy.admin.v3.EndpointsConfigDump.StaticEndpointConfig',
  dynamic_endpoint_configs: 'envoy.admin.v3.EndpointsConfigDump.DynamicEndpointConfig',
  static_listeners: 'envoy.admin.v3.ListenersConfigDump.StaticListener',
  dynamic_listeners: 'envoy.admin.v3.ListenersConfigDump.DynamicListener',
  static_route_configs: 'envoy.admin.v3.RoutesConfigDump.StaticRouteConfig',
  dynamic_route_configs: 'envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig',
  static_secrets: 'envoy.admin.v3.SecretsConfigDump.StaticSecret',
  dynamic_active_secrets: 'envoy.admin.v3.SecretsConfigDump.DynamicSecret',
  dynamic_warming_secrets: 'envoy.admin.v3.SecretsConfigDump.DynamicSecret',
};

/** The elements of one list, each as a configuration of its own; for `bootstrap` that message. */
const onlyResource = (dumps: readonly Dump[], field: string): Dump[] | undefined => {
  if (field === 'bootstrap') {
    const bootstrap = dumps[0]?.['bootstrap'] as Message;
    return [{ '@type': typeUrl('envoy.config.bootstrap.v3.Bootstrap'), ...bootstrap }];
  }
  const type = ELEMENT_TYPES[field];
  const owner = dumps.find((d) => field in d);
  if (!type || !owner) return undefined;
  return (owner[field] as Message[]).map((m) => ({ '@type': typeUrl(type), ...m }));
};

/** A field mask over one message: `a.b` keeps that path; lists are kept or dropped whole. */
const masked = (message: Dump, paths: readonly string[]): Dump => {
  const out = pick(
    message,
    paths.map((p) => p.split('.')),
  );
  return { '@type': message['@type'], ...out };
};

const pick = (message: Message, paths: readonly (readonly string[])[]): Message => {
  const out: Message = {};
  for (const [head, ...rest] of paths) {
    if (head === undefined || !(head in message)) continue;
    const value = message[head];
    if (rest.length === 0) out[head] = value;
    else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const type = (value as Message)['@type'];
      const inner = { ...(typeof type === 'string' ? { '@type': type } : {}), ...pick(value as Message, [rest]) };
      out[head] = { ...(out[head] as Message | undefined), ...inner };
    }
  }
  return out;
};
