// tables/pilot_pkg_networking_telemetry.json: names of statistics that MeshConfig sets.

import { patternedStat } from '../../../src/translate/stat-names.ts';
import { differs, leftOut, row, text } from './case.ts';
import { table } from './table.ts';

export const networkingTelemetry = table({
  TestBuildStatPrefix: (r) => {
    const attributes = row(r['attributes']);
    const port = row(r['port']);
    const service = {
      host: text(r['host']),
      name: text(attributes['Name']),
      namespace: text(attributes['Namespace']),
      registry: attributes['ServiceRegistry'] === 'Kubernetes' ? ('Kubernetes' as const) : ('External' as const),
    };
    const at = { port: Number(port['Port']), name: text(port['Name']) };
    return differs(patternedStat(text(r['statPattern']), service, text(r['subsetName']), at, Number(r['targetPort'] ?? 0)), r['want']);
  },
  TestBuildInboundStatPrefix: (r) => {
    const target = row(r['tm']);
    const name = text(target['KubernetesServiceName']);
    const service = {
      host: text(target['InstanceHostname']),
      name,
      namespace: text(target['KubernetesServiceNamespace']),
      registry: name === '' ? ('External' as const) : ('Kubernetes' as const),
    };
    const at = { port: Number(r['port']), name: text(r['portName']) };
    return differs(patternedStat(text(r['statPattern']), service, text(r['subset']), at, Number(target['Port'] ?? 0)), r['want']);
  },
  TestTraceOperation: leftOut('a step in naming spans; names of spans are compared in recorded configuration'),
});
