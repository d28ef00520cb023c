// Who asks for configuration: Envoy's Node read as Istio's agents fill it.

import { type Locality, NO_LOCALITY } from '../mesh/service.ts';
import {
  HTTP2_FEATURE,
  IDEMPOTENT_RETRIES_FEATURE,
  ON_DEMAND_FEATURE,
  PEAK_EWMA_FEATURE,
  WANTS_ON_DEMAND,
} from '../xds/client-features.ts';
import type { JsonObject, Node } from '../xds/gen/types.ts';

export interface ProxyNode {
  readonly id: string;
  /** `grpc`: a program that needs no proxy. */
  readonly kind: 'sidecar' | 'router' | 'grpc';
  readonly name: string;
  /** Decides what the proxy may see. */
  readonly namespace: string;
  /** Whose services its addresses may belong to; the same namespace but in tests. */
  readonly workloadNamespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Never empty for a node that registered; the first is the main address. */
  readonly ipAddresses: readonly string[];
  readonly serviceAccount: string;
  /** `default.svc.cluster.local`: short names are served relative to it. */
  readonly dnsDomain: string;
  readonly locality: Locality;
  readonly clusterId: string;
  readonly meshId: string;
  readonly metadata: JsonObject;
  /** Message types of the extensions the proxy announced, without URL prefix. */
  readonly extensionTypes: ReadonlySet<string>;
  readonly extensionNames: ReadonlySet<string>;
  /** Its namespace, labels and service account are known to the control plane, not only said by the node. */
  readonly proven: boolean;
  /** Will get no answer, not even a refusal, when it asks for keys that are not its own: it should not wait for them. */
  readonly secretsUnanswered: boolean;
  /** Speaks HTTP/2 to clients and servers. Every proxy does but a Skein that has not announced it. */
  readonly http2: boolean;
  /** Of TCP connections for which no rule says it, from the node's metadata. */
  readonly idleTimeout: string | undefined;
  /** Its workload has clients of HTTP/1.0, which is passed through as bytes elsewhere (Istio's `PILOT_HTTP10`, for one node). */
  readonly http10: boolean;
  /** Asks the mesh for names: entries without addresses get some. */
  readonly dnsCapture: boolean;
  /** Envoy's `service_cluster`: whom traces name as their source. */
  readonly cluster?: string;
  /** Is Skein's own proxy, which takes less than Envoy in places that no extension type names. */
  readonly isSkein?: boolean;
  /** Asks for virtual hosts and clusters when it needs them; so its stream must be incremental. */
  readonly onDemand?: boolean;
  /** For listeners of single addresses too. */
  readonly onDemandListeners?: boolean;
  /** It can choose hosts by their response times. */
  readonly peakEwma?: boolean;
  /** It can leave out retries of requests that are not idempotent. */
  readonly idempotentRetries?: boolean;
}

const SKEIN = 'skein';

const text = (v: unknown): string => (typeof v === 'string' ? v : '');

/** `1h30m` as Envoy writes durations; undefined for anything else. */
const seconds = (v: string): string | undefined => {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  if (!/^(\d+(\.\d+)?(ms|h|m|s))+$/.test(v)) return undefined;
  let ms = 0;
  for (const [, n, unit] of v.matchAll(/([\d.]+)(ms|h|m|s)/g)) ms += Number(n) * (units[unit ?? ''] ?? 0);
  return `${ms / 1000}s`;
};

const textMap = (v: unknown): Readonly<Record<string, string>> => {
  if (typeof v !== 'object' || v === null || Array.isArray(v)) return {};
  return Object.fromEntries(Object.entries(v).filter((e): e is [string, string] => typeof e[1] === 'string'));
};

/** The id is `kind~address~name.namespace~dnsDomain`; metadata says more where it is there. Undefined for an id of another shape. */
export const parseNode = (node: Node): ProxyNode | undefined => {
  const parts = (node.id ?? '').split('~');
  const [kind, ip, qualified, dnsDomain] = parts;
  if (parts.length !== 4 || ip === undefined || qualified === undefined || dnsDomain === undefined) return undefined;
  if (kind !== 'sidecar' && kind !== 'router') return undefined;
  const metadata = node.metadata ?? {};
  const dot = qualified.lastIndexOf('.');
  const instanceIps = text(metadata['INSTANCE_IPS'])
    .split(',')
    .filter((s) => s !== '');
  const types = new Set<string>();
  const names = new Set<string>();
  for (const e of node.extensions ?? []) {
    if (e.name !== undefined) names.add(e.name);
    for (const url of e.type_urls ?? []) types.add(url.slice(url.lastIndexOf('/') + 1));
  }
  const namespace = text(metadata['NAMESPACE']) || (dot === -1 ? '' : qualified.slice(dot + 1));
  return {
    id: node.id ?? '',
    kind: metadata['GENERATOR'] === 'grpc' ? 'grpc' : kind,
    name: text(metadata['NAME']) || (dot === -1 ? qualified : qualified.slice(0, dot)),
    namespace,
    workloadNamespace: namespace,
    labels: textMap(metadata['LABELS']),
    ipAddresses: instanceIps.length > 0 ? instanceIps : ip === '' ? [] : [ip],
    serviceAccount: text(metadata['SERVICE_ACCOUNT']),
    dnsDomain,
    locality:
      node.locality === undefined
        ? NO_LOCALITY
        : { region: node.locality.region ?? '', zone: node.locality.zone ?? '', subzone: node.locality.sub_zone ?? '' },
    clusterId: text(metadata['CLUSTER_ID']),
    meshId: text(metadata['MESH_ID']),
    metadata,
    extensionTypes: types,
    extensionNames: names,
    http2: node.user_agent_name !== SKEIN || (node.client_features ?? []).includes(HTTP2_FEATURE),
    proven: false,
    secretsUnanswered: false,
    idleTimeout: seconds(text(metadata['IDLE_TIMEOUT'])),
    http10: metadata['HTTP10'] === '1',
    dnsCapture: isOn(metadata['DNS_CAPTURE']),
    cluster: node.cluster ?? '',
    isSkein: node.user_agent_name === SKEIN,
    onDemand: isOn(metadata[WANTS_ON_DEMAND]) && knowsOnDemand(types),
    onDemandListeners: (node.client_features ?? []).includes(ON_DEMAND_FEATURE),
    idempotentRetries: (node.client_features ?? []).includes(IDEMPOTENT_RETRIES_FEATURE),
    peakEwma: (node.client_features ?? []).includes(PEAK_EWMA_FEATURE),
  };
};

const knowsOnDemand = (types: ReadonlySet<string>): boolean => types.has('envoy.extensions.filters.http.on_demand.v3.OnDemand');

const isOn = (v: unknown): boolean => v === true || v === 'true' || v === '1';

/** The machine it runs on; empty where nobody says it, as of workloads that share the one machine there is. */
export const machineOf = (node: ProxyNode): string => text(node.metadata['NODE_NAME']) || (node.labels['kubernetes.io/hostname'] ?? '');

/** No connection is redirected to the proxy: applications call its listeners themselves. */
export const capturesNothing = (node: ProxyNode): boolean => node.metadata['INTERCEPTION_MODE'] === 'NONE';

/** Is a typed configuration understood by the proxy? By type where announced, else by the filter's name. */
export const understands = (node: ProxyNode, type: string, name: string): boolean =>
  node.extensionTypes.has(type) || node.extensionNames.has(name);

/** Every proxy has it, so a list without it is not the whole list. */
const IN_EVERY_LIST = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

/** Of a node that does not list what it knows everything is believed, as Istio believes it of all. */
export const mayUnderstand = (node: ProxyNode, type: string): boolean =>
  !node.extensionTypes.has(IN_EVERY_LIST) || node.extensionTypes.has(type);
