// sidecar-routes.json: the clusters of the virtual hosts of one outbound route configuration of a sidecar.

import { type Adapter, differs, leftOut, type Row, row, text, texts, type Verdict } from './case.ts';
import { configOf, proxyOf } from './corpus-mesh.ts';

export const sidecarRoutes: Adapter = ({ rows }) =>
  rows.map((r) => ({ id: `${text(r['id'])} ${text(r['variant'])}`, run: () => judge(r) }));

const judge = (r: Row): Verdict => {
  if (text(r['variant']) === 'httproute') return leftOut('Gateway API routes are converted by a later version');
  if (r['expectedVirtualHosts'] === null) return undefined;
  const name = text(r['routeName']);
  const config = configOf(proxyOf(r['proxy']), { yaml: text(r['config']), kubernetes: '', objects: [] }, {}, 'cluster.local');
  const routes = config.routes.find((x) => x.name === name);
  if (routes === undefined) return { expected: `route configuration ${name}`, got: config.routes.map((x) => x.name) };
  const expected: Record<string, unknown> = {};
  const got: Record<string, unknown> = {};
  for (const [domain, clusters] of Object.entries(row(r['expectedVirtualHosts']))) {
    const host = (routes.virtual_hosts ?? []).find((v) => v.domains?.includes(domain));
    expected[domain] = texts(clusters);
    got[domain] = (host?.routes ?? []).flatMap((x) => x.route?.cluster ?? []).sort();
  }
  return differs(got, expected);
};
