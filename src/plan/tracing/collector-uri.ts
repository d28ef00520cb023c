// The address of a server of telemetry as an HttpUri has it: host and path of its text, the cluster that leads there.

import { PlanError } from '../plan-error.ts';

export const compileUri = (
  uri: string,
  cluster: string,
  path: string,
): { readonly cluster: string; readonly authority: string; readonly path: string } => {
  if (cluster === '') throw new PlanError(`${path}.cluster`, 'is required');
  const rest = uri.includes('://') ? uri.slice(uri.indexOf('://') + 3) : uri;
  const slash = rest.indexOf('/');
  const authority = slash < 0 ? rest : rest.slice(0, slash);
  if (authority === '') throw new PlanError(`${path}.uri`, 'has no host');
  return { cluster, authority, path: slash < 0 ? '/' : rest.slice(slash) };
};
