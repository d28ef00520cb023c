// envoy.config.rbac.v3.Principal: who asks.
import type { Principal } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import type { AuthzMatch } from './authz-view.ts';
import {
  type AuthzCompilation,
  addressMatch,
  allOf,
  always,
  anyOf,
  authenticatedMatch,
  filterStateMatch,
  headerMatch,
  metadataMatch,
  pathMatch,
  sourcedMetadataMatch,
} from './matchers.ts';

export const compilePrincipal = (p: Principal, compilation: AuthzCompilation, path: string): AuthzMatch => {
  if (p.and_ids !== undefined) return allOf(each(p.and_ids.ids, compilation, `${path}.and_ids.ids`));
  if (p.or_ids !== undefined) return anyOf(each(p.or_ids.ids, compilation, `${path}.or_ids.ids`));
  if (p.not_id !== undefined) {
    const match = compilePrincipal(p.not_id, compilation, `${path}.not_id`);
    return (view) => !match(view);
  }
  if (p.any !== undefined) {
    if (!p.any) throw new PlanError(`${path}.any`, 'must be true');
    return always;
  }
  if (p.authenticated !== undefined) return authenticatedMatch(p.authenticated, `${path}.authenticated`);
  if (p.source_ip !== undefined) return addressMatch(p.source_ip, (v) => v.sourceIp, compilation, `${path}.source_ip`);
  if (p.direct_remote_ip !== undefined)
    return addressMatch(p.direct_remote_ip, (v) => v.directRemoteIp, compilation, `${path}.direct_remote_ip`);
  if (p.remote_ip !== undefined) return addressMatch(p.remote_ip, (v) => v.remoteIp, compilation, `${path}.remote_ip`);
  if (p.header !== undefined) return headerMatch(p.header, compilation, `${path}.header`);
  if (p.url_path !== undefined) return pathMatch(p.url_path, `${path}.url_path`);
  if (p.metadata !== undefined) return metadataMatch(p.metadata, `${path}.metadata`);
  if (p.sourced_metadata !== undefined) return sourcedMetadataMatch(p.sourced_metadata, `${path}.sourced_metadata`);
  if (p.filter_state !== undefined) return filterStateMatch(p.filter_state, compilation, `${path}.filter_state`);
  if (p.custom !== undefined) throw new PlanError(`${path}.custom`, `${p.custom.name ?? ''} is not supported`);
  throw new PlanError(path, 'no identifier is set');
};

const each = (ids: readonly Principal[] | undefined, compilation: AuthzCompilation, path: string): AuthzMatch[] => {
  if (ids === undefined || ids.length === 0) throw new PlanError(path, 'must not be empty');
  return ids.map((id, i) => compilePrincipal(id, compilation, `${path}[${i}]`));
};
