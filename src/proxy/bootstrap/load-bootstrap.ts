// An Envoy bootstrap from JSON or YAML text, with proto or lowerCamel field names. Unknown fields are refused with their
// path. Parts that Skein does not have are either inert (a proxy without them serves as well; listed in `inert`) or
// refused by name, because someone relies on them.

import { PlanError } from '../../plan/plan-error.ts';
import { SAMPLING_KEYS } from '../../plan/tracing/sampling.ts';
import type { Bootstrap } from '../../xds/gen/types.ts';
import { fromJson } from '../../xds/json.ts';
import { refusedField } from '../../xds/refused-fields.ts';
import { runtimeValues } from './overload-config.ts';

export interface LoadedBootstrap {
  readonly bootstrap: Bootstrap;
  /** Fields that were given and change nothing here. */
  readonly inert: readonly string[];
  /** `overload_manager` as JSON: for overload-config.ts. */
  readonly overload: unknown;
}

/** A bootstrap that cannot be used; the message names the field. */
export class BootstrapError extends Error {}

/** `overlay` (`--config-yaml`) is merged over the file: fields replace, lists are appended, as Envoy does. */
export const loadBootstrap = async (text: string | undefined, overlay?: string): Promise<LoadedBootstrap> => {
  const inert = new Set<string>();
  const parts: Bootstrap[] = [];
  let overload: unknown;
  for (const part of [text, overlay]) {
    if (part === undefined) continue;
    const json = await parseText(part);
    overload = overloadManagerOf(json) ?? overload;
    parts.push(decodeBootstrap(json, inert));
  }
  const bootstrap = parts.reduce((a, b) => merge(a, b) as Bootstrap, {});
  check(bootstrap, inert);
  for (const key of runtimeValues(bootstrap.layered_runtime).keys())
    if (key.startsWith('tracing.') && !SAMPLING.test(key)) inert.add(`layered_runtime ${key}`);
  if (bootstrap.stats_sinks !== undefined) await checkSinks(bootstrap);
  return { bootstrap, inert: [...inert], overload };
};

const parseText = async (text: string): Promise<unknown> => {
  // The parser of YAML is large: most sidecars never need it.
  if (/^\s*\{/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      // a YAML flow mapping starts alike
    }
  }
  const { parse } = await import('yaml');
  try {
    return parse(text) ?? {};
  } catch (e) {
    throw new BootstrapError(`the bootstrap is neither JSON nor YAML: ${e instanceof Error ? e.message : String(e)}`);
  }
};

/** Taken out before decoding: extensions of their own, with types that Skein need not know. */
const INERT_SUBTREES = ['watchdogs', 'watchdog', 'fatal_actions', 'listener_manager', 'default_regex_engine'];

const decodeBootstrap = (json: unknown, inert: Set<string>): Bootstrap => {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new BootstrapError('the bootstrap is no object');
  const kept: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(json)) {
    const name = key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
    if (name === 'overload_manager') continue;
    if (INERT_SUBTREES.includes(name)) inert.add(name);
    else kept[key] = value;
  }
  return fromJson('envoy.config.bootstrap.v3.Bootstrap', kept);
};

const overloadManagerOf = (json: unknown): unknown => (isObject(json) ? (json['overload_manager'] ?? json['overloadManager']) : undefined);

const merge = (a: unknown, b: unknown): unknown => {
  if (Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  if (!isObject(a) || !isObject(b)) return b;
  const out: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) out[key] = key in out ? merge(out[key], value) : value;
  return out;
};

const isObject = (v: unknown): v is Record<string, unknown> =>
  typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array);

const HONOURED: readonly (keyof Bootstrap)[] = [
  'node',
  'static_resources',
  'dynamic_resources',
  'cluster_manager',
  'admin',
  'stats_sinks',
  'stats_flush_interval',
];

/** Of Envoy's keys about tracing, those that are honoured. */
const SAMPLING = new RegExp(`^(?:${Object.values(SAMPLING_KEYS).join('|').replaceAll('.', '\\.')})(?:\\.\\w+)?$`);

/** Their module is seldom needed. */
const checkSinks = async (bootstrap: Bootstrap): Promise<void> => {
  const { compileStatsSinks } = await import('../telemetry/stats-sinks.ts');
  try {
    compileStatsSinks(bootstrap);
  } catch (problem) {
    throw problem instanceof PlanError ? new BootstrapError(problem.message) : problem;
  }
};

const check = (bootstrap: Bootstrap, inert: Set<string>): void => {
  // What static resources hold is refused with the name of the resource, when they are taken.
  const refused = refusedField('envoy.config.bootstrap.v3.Bootstrap', { ...bootstrap, static_resources: undefined });
  if (refused !== undefined) throw new BootstrapError(`${refused.path}: is not supported`);
  for (const name of Object.keys(bootstrap) as (keyof Bootstrap)[]) {
    const value = bootstrap[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    if (!HONOURED.includes(name)) inert.add(name);
  }
};
