// tables/pilot_pkg_security_authn.json: the mutual TLS mode of a workload under several policies.

import { objectOrigin, type Resource } from '../../../src/api/resource.ts';
import { buildPeerAuthentication } from '../../../src/mesh/peer-authentication.ts';
import { resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, type Row, row, rows, type Verdict } from './case.ts';
import { spaceDelimitedClaims } from './policy-judges.ts';
import { table } from './table.ts';

const MODES = ['UNKNOWN', 'DISABLE', 'PERMISSIVE', 'STRICT'];
const ROOT = 'root-namespace';

const compose = (r: Row): Verdict => {
  const policies = rows(r['configs'])
    .map((c) => resourceOf(c))
    .filter((p): p is Resource<'PeerAuthentication'> => p !== undefined)
    .map((p) => ({ ...p, origin: objectOrigin('case') }));
  // The table lists policies that apply: the workload has the labels they select.
  const labels = Object.assign({}, ...policies.map((p) => p.spec.selector?.matchLabels ?? {})) as Record<string, string>;
  const namespace = policies.find((p) => p.namespace !== ROOT)?.namespace ?? 'ns';
  const got = buildPeerAuthentication(policies, ROOT).forWorkload(namespace, labels);
  const want = row(r['want']);
  const ports = Object.fromEntries(Object.entries(row(want['PerPort'])).map(([port, mode]) => [port, MODES[Number(mode)]]));
  return differs({ mode: got.mode, ports: Object.fromEntries(got.ports) }, { mode: MODES[Number(want['Mode'])], ports });
};

export const authn = table({
  TestComposePeerAuthentication: compose,
  TestBuildSpaceDelimitedClaims: spaceDelimitedClaims,
});
