// The bootstrap's `overload_manager`, and the runtime keys that limit connections, as what proxy/overload.ts takes. Read as
// JSON: its extensions are few, and their messages are needed nowhere else. What is not known is named, not dropped.

import type { Bootstrap, LayeredRuntime } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { OVERLOAD_ACTIONS, type OverloadAction, type OverloadConfig, type OverloadTrigger } from '../overload.ts';

type Json = Readonly<Record<string, unknown>>;

/** Wrong values; the message names the field. */
export class OverloadConfigError extends Error {}

/** Without a word about it: what a limited control group needs to live. */
export const DEFAULT_OVERLOAD: OverloadConfig = {
  refreshMs: 1_000,
  memory: new Map([['skein.resource_monitors.cgroup_memory', 'cgroup']]),
  maxConnections: Infinity,
  actions: new Map([
    ['envoy.overload_actions.shrink_heap', [at('skein.resource_monitors.cgroup_memory', 0.9)]],
    ['envoy.overload_actions.disable_http_keepalive', [at('skein.resource_monitors.cgroup_memory', 0.95)]],
    ['envoy.overload_actions.stop_accepting_requests', [at('skein.resource_monitors.cgroup_memory', 0.98)]],
  ]),
};

function at(name: string, value: number): OverloadTrigger {
  return { name, from: value, full: value };
}

/** `unknown` collects what changes nothing here. */
export const overloadConfig = (manager: unknown, bootstrap: Bootstrap, unknown: Set<string>): OverloadConfig => {
  const runtime = runtimeValues(bootstrap.layered_runtime);
  const overall = Number(runtime.get('overload.global_downstream_max_connections') ?? Infinity);
  if (manager === undefined) return { ...DEFAULT_OVERLOAD, maxConnections: overall };
  const root = snake(manager);
  const memory = new Map<string, number | 'cgroup'>();
  let maxConnections = overall;
  for (const monitor of list(root['resource_monitors'])) {
    const name = String(monitor['name'] ?? '');
    const config = snake(monitor['typed_config']);
    const type = String(config['@type'] ?? '')
      .split('.')
      .at(-1);
    if (type === 'FixedHeapConfig') memory.set(name, positive(config['max_heap_size_bytes'], `${name}.max_heap_size_bytes`));
    else if (type === 'CgroupMemoryConfig')
      memory.set(
        name,
        config['max_memory_bytes'] === undefined ? 'cgroup' : positive(config['max_memory_bytes'], `${name}.max_memory_bytes`),
      );
    else if (type === 'DownstreamConnectionsConfig')
      maxConnections = positive(config['max_active_downstream_connections'], `${name}.max_active_downstream_connections`);
    else unknown.add(`overload_manager.resource_monitors[${name}]`);
  }
  const actions = new Map<OverloadAction, readonly OverloadTrigger[]>();
  for (const action of list(root['actions'])) {
    const name = OVERLOAD_ACTIONS.find((a) => a === action['name']);
    if (name === undefined) unknown.add(`overload_manager.actions[${String(action['name'])}]`);
    else actions.set(name, list(action['triggers']).map(trigger));
  }
  if (list(root['loadshed_points']).length > 0) unknown.add('overload_manager.loadshed_points');
  const refresh = root['refresh_interval'];
  return { refreshMs: typeof refresh === 'string' ? durationMs(refresh) : 1_000, memory, maxConnections, actions };
};

const trigger = (json: Json): OverloadTrigger => {
  const name = String(json['name'] ?? '');
  const scaled = json['scaled'];
  if (scaled !== undefined) {
    const { scaling_threshold: from, saturation_threshold: full } = snake(scaled);
    return { name, from: Number(from ?? 0), full: Number(full ?? 1) };
  }
  return at(name, Number(snake(json['threshold'])['value'] ?? 1));
};

const positive = (value: unknown, path: string): number => {
  const number = Number(value);
  if (!(number > 0)) throw new OverloadConfigError(`overload_manager: ${path}: value must be greater than 0`);
  return number;
};

/** What one listener may have at once, by the bootstrap's runtime. */
export const connectionLimits = (bootstrap: Bootstrap): ((listener: string) => number) => {
  const values = runtimeValues(bootstrap.layered_runtime);
  return (listener) => Number(values.get(`envoy.resource_limits.listener.${listener}.connection_limit`) ?? Infinity);
};

/** Values of the static layers, the later over the earlier. */
export const runtimeValues = (runtime: LayeredRuntime | undefined): ReadonlyMap<string, unknown> => {
  const values = new Map<string, unknown>();
  for (const { static_layer: layer } of runtime?.layers ?? [])
    for (const [key, value] of Object.entries(layer ?? {})) flatten(key, value, values);
  return values;
};

/** `{a: {b: 1}}` is `a.b`. */
const flatten = (key: string, value: unknown, into: Map<string, unknown>): void => {
  if (typeof value !== 'object' || value === null) into.set(key, value);
  else for (const [inner, v] of Object.entries(value)) flatten(`${key}.${inner}`, v, into);
};

const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.map(snake) : []);

/** Both spellings of proto JSON. */
const snake = (value: unknown): Json =>
  typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), v]))
    : {};
