// The rules of Istio's CRDs that look at several fields of a message at once, by the message's name. They ask what is written, not what it
// means: an empty list is written. Rules that Istio's webhook has as well stand with the checks of their kind.

import type { DocumentNode, MapNode } from '../reading/document-node.ts';

export interface BrokenRule {
  /** Fields the rule is about; the last is where it is told. */
  readonly paths: readonly string[];
  readonly message: string;
}

interface Written {
  has(field: string): boolean;
  /** The value of a scalar field; undefined when it is absent or no scalar. */
  scalar(field: string): string | number | boolean | undefined;
  /** Keys of a mapping, entries of a list. */
  size(field: string): number;
  keys(field: string): readonly string[];
}
type Rule = (written: Written) => BrokenRule | undefined;

/** `place` is the field that holds the message, `name` how a key as written is spelt in the schema. */
export const crdRules = (
  message: string,
  place: string,
  node: MapNode,
  name: (key: string) => string | undefined,
): readonly BrokenRule[] => {
  const rules = byMessage[message];
  if (rules === undefined) return [];
  const written = writtenIn(node, name);
  const broken = rules.map((rule) => rule(written)).filter((b) => b !== undefined);
  return place === ADDRESSLESS ? broken.filter((b) => b.message !== ADDRESS_REQUIRED) : broken;
};

/** Workloads made from a group's template bring their own address. */
const ADDRESSLESS = 'WorkloadGroup.template';
const ADDRESS_REQUIRED = 'Address is required';

const writtenIn = (node: MapNode, name: (key: string) => string | undefined): Written => {
  const fields = new Map<string, DocumentNode>();
  for (const [key, { node: value }] of node.entries) {
    const field = name(key);
    if (field !== undefined && !(value.kind === 'scalar' && value.value === null)) fields.set(field, value);
  }
  const scalar = (field: string): string | number | boolean | undefined => {
    const value = fields.get(field);
    return value?.kind === 'scalar' && value.value !== null ? value.value : undefined;
  };
  const keys = (field: string): readonly string[] => {
    const value = fields.get(field);
    return value?.kind === 'map' ? [...value.entries.keys()] : [];
  };
  const size = (field: string): number => {
    const value = fields.get(field);
    return value?.kind === 'list' ? value.items.length : keys(field).length;
  };
  return { has: (field) => fields.has(field), scalar, keys, size };
};

const atMostOne =
  (message: string, ...fields: readonly string[]): Rule =>
  (w) => {
    const set = fields.filter((f) => w.has(f));
    return set.length > 1 ? { paths: set, message } : undefined;
  };

const when =
  (broken: (w: Written) => boolean, message: string, ...paths: readonly string[]): Rule =>
  (w) =>
    broken(w) ? { paths, message } : undefined;

const targets = atMostOne('only one of targetRefs or selector can be set', 'selector', 'targetRef', 'targetRefs');
const isUnix = (w: Written): boolean => String(w.scalar('address') ?? '').startsWith('unix://');

const byMessage: Readonly<Record<string, readonly Rule[]>> = {
  AuthorizationPolicy: [targets],
  RequestAuthentication: [targets],
  Telemetry: [targets],
  WasmPlugin: [targets],
  TrafficExtension: [targets, when((w) => w.has('wasm') === w.has('lua'), 'exactly one of wasm or lua must be set', 'wasm', 'lua')],
  EnvoyFilter: [atMostOne('only one of targetRefs or workloadSelector can be set', 'workloadSelector', 'targetRefs')],
  'EnvoyFilter.EnvoyConfigObjectMatch': [
    when(
      (w) => (w.scalar('context') === 'WAYPOINT') !== w.has('waypoint'),
      'only support waypointMatch when context is WAYPOINT',
      'context',
      'waypoint',
    ),
  ],
  ServerTLSSettings: [
    atMostOne('only one of credentialNames or tlsCertificates can be set', 'tlsCertificates', 'credentialNames'),
    atMostOne('only one of credentialName or credentialNames can be set', 'credentialName', 'credentialNames'),
  ],
  ServiceEntry: [
    atMostOne('only one of WorkloadSelector or Endpoints can be set', 'workloadSelector', 'endpoints'),
    when((w) => (w.scalar('resolution') ?? 'NONE') === 'NONE' && w.has('endpoints'), 'NONE mode cannot set endpoints', 'endpoints'),
    when(
      (w) => w.scalar('resolution') === 'DNS_ROUND_ROBIN' && w.size('endpoints') > 1,
      'DNS_ROUND_ROBIN mode cannot have multiple endpoints',
      'endpoints',
    ),
  ],
  ServicePort: [when((w) => w.scalar('targetPort') === 0, 'port must be between 1-65535', 'targetPort')],
  WorkloadEntry: [
    when((w) => !w.has('address') && !w.has('network'), ADDRESS_REQUIRED, ''),
    when((w) => isUnix(w) && w.has('ports'), 'UDS may not include ports', 'ports'),
    when((w) => isUnix(w) && String(w.scalar('address')).endsWith('/'), 'UDS may not be a dir', 'address'),
    when((w) => w.keys('ports').some((name) => name.length >= 63), 'port name must be valid: at most 62 characters', 'ports'),
  ],
  JWTRule: [atMostOne('only one of jwks or jwksUri can be set', 'jwksUri', 'jwks')],
  LoadBalancerSettings: [atMostOne('only one of warmupDurationSecs or warmup can be set', 'warmupDurationSecs', 'warmup')],
  EnvVar: [when((w) => w.scalar('valueFrom') === 'HOST' && w.has('value'), 'value may only be set when valueFrom is INLINE', 'value')],
  'MetricsOverrides.TagOverride': [
    when(
      (w) => w.scalar('operation') === 'UPSERT' && (w.scalar('value') ?? '') === '',
      'value must be set when operation is UPSERT',
      'value',
    ),
    when((w) => w.scalar('operation') === 'REMOVE' && w.has('value'), 'value must not be set when operation is REMOVE', 'value'),
  ],
};
