// Services as rows of tables describe them (a Go struct's fields), as services of ours.

import { objectOrigin } from '../../../src/api/resource.ts';
import { compareAge } from '../../../src/mesh/order.ts';
import { protocolOfName } from '../../../src/mesh/protocol.ts';
import type { Resolution, Service } from '../../../src/mesh/service.ts';
import { buildServiceIndex, type ServiceIndex } from '../../../src/mesh/service-index.ts';
import { resolveExportTo } from '../../../src/mesh/visibility.ts';
import { labelsOf, type Row, row, rows, text, texts } from './case.ts';

const RESOLUTIONS: readonly Resolution[] = ['listed', 'dns', 'passthrough', 'dns-round-robin', 'listed', 'dynamic-dns'];

export const serviceOf = (r: Row): Service => {
  const about = row(r['Attributes']);
  const namespace = text(about['Namespace']);
  const address = text(r['DefaultAddress']);
  return {
    host: text(r['Hostname']),
    name: text(about['Name']),
    namespace,
    registry: about['ServiceRegistry'] === 'Kubernetes' ? 'Kubernetes' : 'External',
    ports: rows(r['Ports']).map((p) => ({
      name: text(p['Name']),
      port: Number(p['Port'] ?? 0),
      protocol: protocolOfName(text(p['Protocol'])),
    })),
    addresses: address === '' || address === '0.0.0.0' ? [] : [address],
    autoAddress: undefined,
    resolution: RESOLUTIONS[Number(r['Resolution'] ?? 0)] ?? 'listed',
    meshExternal: r['MeshExternal'] === true,
    exportTo: resolveExportTo(texts(about['ExportTo']), namespace, ['*']),
    creationMs: 0,
    subjectAltNames: [],
    selector: about['LabelSelectors'] === undefined ? undefined : labelsOf(about['LabelSelectors']),
    labels: labelsOf(about['Labels']),
    aliases: [],
    trafficDistribution: 'any',
    nodeLocal: false,
    endpoints: new Map(),
    origin: objectOrigin('table'),
  };
};

export const indexOf = (services: readonly Row[]): ServiceIndex => buildServiceIndex(services.map(serviceOf).sort(compareAge));

/** What of a service a table compares. */
export const gist = (s: Service): unknown => ({ host: s.host, namespace: s.namespace, ports: s.ports.map((p) => p.port) });
