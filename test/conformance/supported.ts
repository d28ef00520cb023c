// Which scenarios a cell can run: by the features that are built, and by what our control plane refuses by name.
import { parseAllDocuments } from 'yaml';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { HOSTS } from './proxies.ts';
import type { Cell } from './run-scenario.ts';
import type { RecordedXds, Scenario } from './scenario.ts';

/** Features that Skein's proxy does not decide yet; Envoy decides them all. */
const PROXY_LACKS: readonly string[] = [];
const NOT_YET = new Set(['NOT_YET_ENFORCED', 'KIND_NOT_SUPPORTED', 'FIELD_NOT_SUPPORTED']);

/** A selector names a label in which a sidecar without a recording differs from the replica whose recording stands in for it. */
const tellsReplicasApart = (scenario: Scenario, recordings: readonly RecordedXds[]): boolean => {
  const recorded = (name: string): boolean => recordings.some((r) => r.node?.id.split('~')[1] === HOSTS[name]?.address);
  const apart = new Set<string>();
  for (const missing of scenario.proxies.filter((name) => !recorded(name))) {
    const host = HOSTS[missing];
    for (const [name, twin] of Object.entries(HOSTS)) {
      if (!host || twin.serviceAccount !== host.serviceAccount || twin.namespace !== host.namespace || !recorded(name)) continue;
      for (const [key, value] of Object.entries(host.labels)) if (twin.labels[key] !== value) apart.add(key);
    }
  }
  if (apart.size === 0) return false;
  return parseAllDocuments(scenario.yaml).some((document) => {
    const spec = (document.toJS() as { spec?: { selector?: { matchLabels?: object } } } | null)?.spec;
    return Object.keys(spec?.selector?.matchLabels ?? {}).some((key) => apart.has(key));
  });
};

/** Why the scenario is not run in this cell; undefined when it is. */
export const skipReason = (scenario: Scenario, cell: Cell, recordings: readonly RecordedXds[]): string | undefined => {
  if (scenario.rejectedByProxy) return 'the recorded proxy refused part of the configuration';
  if (cell.proxy === 'skein') {
    const lacking = scenario.features.filter((f) => PROXY_LACKS.includes(f));
    if (lacking.length > 0) return `feature not built in the proxy: ${lacking.join(', ')}`;
  }
  if (cell.control === 'recorded') {
    if (recordings.length === 0) return 'no recorded configuration';
    return scenario.topology === 'sidecars' && tellsReplicasApart(scenario, recordings)
      ? 'a policy selects one replica, and the configuration of only one was recorded'
      : undefined;
  }
  const { problems } = parseDocuments('scenario.yaml', scenario.yaml);
  const refused = problems.filter((p) => p.severity === 'error' && NOT_YET.has(p.code));
  if (refused.length > 0) return `not built in the control plane: ${[...new Set(refused.map((p) => p.message))].join('; ')}`;
  return undefined;
};
