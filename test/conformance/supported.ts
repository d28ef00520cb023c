// Which scenarios a cell can run: by the features that are built, and by what our control plane refuses by name.
import { parseDocuments } from '../../src/api/parse-documents.ts';
import type { Cell } from './run-scenario.ts';
import type { RecordedXds, Scenario } from './scenario.ts';

/** Features that Skein's proxy does not decide yet; Envoy decides them all. */
const PROXY_LACKS: readonly string[] = ['authz', 'jwt', 'ext-authz', 'ratelimit'];
const NOT_YET = new Set(['NOT_YET_ENFORCED', 'KIND_NOT_SUPPORTED', 'FIELD_NOT_SUPPORTED']);

/** Why the scenario is not run in this cell; undefined when it is. */
export const skipReason = (scenario: Scenario, cell: Cell, recordings: readonly RecordedXds[]): string | undefined => {
  if (scenario.rejectedByProxy) return 'the recorded proxy refused part of the configuration';
  if (cell.proxy === 'skein') {
    const lacking = scenario.features.filter((f) => PROXY_LACKS.includes(f));
    if (lacking.length > 0) return `feature not built in the proxy: ${lacking.join(', ')}`;
  }
  if (cell.control === 'recorded') {
    if (recordings.length === 0) return 'no recorded configuration';
    const partial = scenario.topology === 'sidecars' && recordings.length < scenario.proxies.length;
    return partial && /^ *selector:/m.test(scenario.yaml)
      ? 'a policy selects workloads, and not every sidecar’s configuration was recorded'
      : undefined;
  }
  const { problems } = parseDocuments('scenario.yaml', scenario.yaml);
  const refused = problems.filter((p) => p.severity === 'error' && NOT_YET.has(p.code));
  if (refused.length > 0) return `not built in the control plane: ${[...new Set(refused.map((p) => p.message))].join('; ')}`;
  return undefined;
};
