// Meshes for tests: YAML text read leniently into resources (no validation: that is the api room's), and a MeshConfig with Istio's defaults.

import { parseAllDocuments } from 'yaml';
import type { MeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { type Kind, objectOrigin, type Resource } from '../../src/api/resource.ts';

type Raw = Record<string, unknown>;

const isRaw = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v);

/** `1h30m`, `250ms` → seconds as proto3 JSON writes them. */
const canonicalDuration = (text: string): string => {
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  let seconds = 0;
  for (const [, n, unit] of text.matchAll(/([\d.]+)(ms|h|m|s)/g)) seconds += Number(n) * (units[unit ?? 's'] ?? 1);
  return `${Number(seconds.toFixed(9))}s`;
};

const isDuration = (v: unknown): v is string => typeof v === 'string' && /^(\d+(\.\d+)?(ms|h|m|s))+$/.test(v);
const DURATION_KEYS = new Set([
  'timeout',
  'perTryTimeout',
  'backoff',
  'fixedDelay',
  'maxAge',
  'interval',
  'baseEjectionTime',
  'connectTimeout',
  'time',
  'idleTimeout',
  'maxConnectionDuration',
  'ttl',
  'duration',
  'warmupDurationSecs',
  'protocolDetectionTimeout',
  'dnsRefreshRate',
]);

const canonical = (v: unknown, key = ''): unknown => {
  if (Array.isArray(v)) return v.map((x) => canonical(x));
  if (isRaw(v)) return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, canonical(x, k)]));
  return DURATION_KEYS.has(key) && isDuration(v) ? canonicalDuration(v) : v;
};

const textMap = (v: unknown): Readonly<Record<string, string>> =>
  isRaw(v) ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, String(x)])) : {};

/** Kinds whose fields stand beside `metadata`. */
const ROOT_KINDS: ReadonlySet<string> = new Set(['Pod', 'Endpoints', 'EndpointSlice', 'Secret', 'ConfigMap']);

export const resourceOf = (doc: unknown, defaultNamespace = 'default'): Resource | undefined => {
  if (!isRaw(doc) || typeof doc['kind'] !== 'string') return undefined;
  const meta = isRaw(doc['metadata']) ? doc['metadata'] : {};
  const created = meta['creationTimestamp'];
  return {
    kind: doc['kind'] as Kind,
    apiVersion: String(doc['apiVersion'] ?? ''),
    name: String(meta['name'] ?? ''),
    namespace: String(meta['namespace'] ?? defaultNamespace),
    labels: textMap(meta['labels']),
    annotations: textMap(meta['annotations']),
    creationTimestamp: typeof created === 'string' ? created : undefined,
    spec: canonical(ROOT_KINDS.has(doc['kind']) ? doc : isRaw(doc['spec']) ? doc['spec'] : {}) as Resource['spec'],
    origin: objectOrigin('test.yaml'),
  };
};

export const resourcesOf = (yaml: string, defaultNamespace = 'default'): Resource[] =>
  parseAllDocuments(yaml)
    .map((d) => resourceOf(d.toJSON(), defaultNamespace))
    .filter((r): r is Resource => r !== undefined);

export const meshConfigOf = (overrides: Raw = {}): MeshConfig => {
  const defaults: Raw = {
    proxyListenPort: 15001,
    proxyInboundListenPort: 15006,
    connectTimeout: '10s',
    dnsRefreshRate: '60s',
    protocolDetectionTimeout: '0s',
    trustDomain: 'cluster.local',
    trustDomainAliases: [],
    rootNamespace: 'istio-system',
    enableAutoMtls: true,
    localityLbSetting: { enabled: true },
    defaultServiceExportTo: ['*'],
    defaultVirtualServiceExportTo: ['*'],
    defaultDestinationRuleExportTo: ['*'],
    accessLogFile: '',
    accessLogFormat: '',
    accessLogEncoding: 'TEXT',
    enableTracing: true,
    enablePrometheusMerge: true,
    ingressControllerMode: 'STRICT',
    ingressClass: 'istio',
    h2UpgradePolicy: 'DO_NOT_UPGRADE',
    extensionProviders: [],
    defaultProviders: {},
    outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
    inboundTrafficPolicy: { mode: 'PASSTHROUGH' },
    pathNormalization: { normalization: 'DEFAULT' },
  };
  return { ...defaults, defaultConfig: {}, ...(canonical(overrides) as Raw) } as unknown as MeshConfig;
};
