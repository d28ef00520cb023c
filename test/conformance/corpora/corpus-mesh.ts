// From the meshes that corpus files describe to what a proxy is sent.

import { NO_LOCALITY } from '../../../src/mesh/service.ts';
import { buildSnapshot } from '../../../src/mesh/snapshot.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../../src/translate/translate.ts';
import { meshConfigOf, resourceOf, resourcesOf } from '../../translate/mesh-fixture.ts';
import { labelsOf, type Row, row, text, texts } from './case.ts';

/** Of Envoy's, those that change what is asked of it here. */
const ENVOY_EXTENSIONS = ['envoy.filters.http.dynamic_forward_proxy'];

export interface MeshText {
  readonly yaml: string;
  readonly kubernetes: string;
  readonly objects: readonly Row[];
}

export const proxyOf = (input: unknown): ProxyNode => {
  const p = row(input);
  return {
    id: text(p['id']),
    kind: p['type'] === 'router' ? 'router' : 'sidecar',
    name: 'app',
    namespace: text(p['configNamespace']),
    workloadNamespace: text(p['metadataNamespace']),
    labels: labelsOf(p['labels']),
    ipAddresses: texts(p['ipAddresses']),
    serviceAccount: '',
    dnsDomain: text(p['dnsDomain']),
    locality: NO_LOCALITY,
    clusterId: '',
    meshId: '',
    metadata: {},
    extensionTypes: new Set(),
    extensionNames: new Set(ENVOY_EXTENSIONS),
    http2: true,
    idleTimeout: undefined,
    proven: false,
    secretsUnanswered: false,
    http10: false,
    dnsCapture: p['dnsCapture'] === true,
  };
};

export const configOf = (node: ProxyNode, input: MeshText, mesh: Row, clusterDomain: string): ProxyConfig => {
  const objects = input.objects.map((o) => resourceOf(o)).filter((r) => r !== undefined);
  const resources = [...resourcesOf(input.yaml), ...objects, ...resourcesOf(input.kubernetes)];
  const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf({ ...mesh }), clusterDomain });
  return translate(snapshot, node);
};
