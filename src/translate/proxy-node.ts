// Who asks for configuration: Envoy's Node read as Istio's agents fill it.

import { type Locality, NO_LOCALITY } from '../mesh/service.ts';
import { HTTP2_FEATURE } from '../xds/client-features.ts';
import type { JsonObject, Node } from '../xds/gen/types.ts';

export interface ProxyNode {
  readonly id: string;
  readonly kind: 'sidecar' | 'router';
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
  /** Speaks HTTP/2 to clients and servers. Every proxy does but a Skein that has not announced it. */
  readonly http2: boolean;
  /** Its workload has clients of HTTP/1.0, which is passed through as bytes elsewhere (Istio's `PILOT_HTTP10`, for one node). */
  readonly http10: boolean;
}

const SKEIN = 'skein';

const text = (v: unknown): string => (typeof v === 'string' ? v : '');

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
    kind,
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
    http10: metadata['HTTP10'] === '1',
  };
};

/** Is a typed configuration understood by the proxy? By type where announced, else by the filter's name. */
export const understands = (node: ProxyNode, type: string, name: string): boolean =>
  node.extensionTypes.has(type) || node.extensionNames.has(name);
