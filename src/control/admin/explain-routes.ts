// The admin API's questions about requests: may it pass, and why did it not. Answered from the current generation, without asking a
// proxy. They change nothing, so they are GETs: the question is JSON in the parameter `q`.

import { isLoggedRequest } from '../../explain/access-line.ts';
import { type AuthzQuery, QUERY_FIELDS, queryProblem } from '../../explain/asked-request.ts';
import { checkAuthz } from '../../explain/authz-check.ts';
import { type KnownMesh, runningMesh } from '../../explain/known-mesh.ts';
import { explainRequest } from '../../explain/request-outcome.ts';
import type { Model } from '../model.ts';
import type { InstanceRegistry } from '../registration/instance-registry.ts';
import type { AdsService } from '../xds/ads-service.ts';
import { AdminError, type AdminRequest, type AdminRoute } from './http.ts';

export interface ExplainRouteOptions {
  readonly model: Model;
  readonly instances: InstanceRegistry;
  readonly ads: AdsService;
  readonly now: () => number;
}

export const explainRoutes = (o: ExplainRouteOptions): readonly AdminRoute[] => [
  { method: 'GET', pattern: '/v1/explain/authz', handle: (r) => ({ status: 200, json: authz(r, o) }) },
  { method: 'GET', pattern: '/v1/explain/request', handle: (r) => ({ status: 200, json: request(r, o) }) },
];

const meshOf = ({ model, instances, ads }: ExplainRouteOptions): KnownMesh => {
  const { current } = model;
  if (current === undefined) throw new AdminError(503, 'NOT_READY', 'there is no configuration yet');
  return runningMesh(current.snapshot, current.resources, instances.list(), ads.nodes());
};

const question = ({ url }: AdminRequest): Readonly<Record<string, unknown>> => {
  let value: unknown;
  try {
    value = JSON.parse(url.searchParams.get('q') ?? '');
  } catch {
    throw new AdminError(400, 'INVALID', 'the parameter q must be JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new AdminError(400, 'INVALID', 'q must be an object');
  return value as Readonly<Record<string, unknown>>;
};

const authz = (r: AdminRequest, o: ExplainRouteOptions): unknown => {
  const query = question(r);
  const unknown = Object.keys(query).find((field) => !QUERY_FIELDS.includes(field));
  const problem = unknown === undefined ? queryProblem(query) : `unknown field ${JSON.stringify(unknown)}`;
  if (problem !== undefined) throw new AdminError(400, 'INVALID', problem);
  const answer = checkAuthz(meshOf(o), query as unknown as AuthzQuery, Math.floor(o.now() / 1000));
  if (!answer.ok) throw new AdminError(404, 'NOT_FOUND', answer.error);
  return answer.value;
};

const request = (r: AdminRequest, o: ExplainRouteOptions): unknown => {
  const logged = question(r);
  if (!isLoggedRequest(logged)) throw new AdminError(400, 'INVALID', 'q must be a logged request');
  return explainRequest(meshOf(o), logged, Math.floor(o.now() / 1000));
};
