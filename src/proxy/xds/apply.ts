// One discovery response onto the data plane: good resources are taken, bad ones named, what a full answer leaves out
// is removed. An unchanged resource is not touched, so that a push of everything costs what has changed.
import { createHash } from 'node:crypto';
import type { Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Secret } from '../../xds/gen/types.ts';
import { type ResourceType, resourceName } from '../../xds/resource-types.ts';
import type { ReceivedResource, ReceivedResponse, ResourceProblem } from '../../xds/sotw-client.ts';
import type { DataPlane } from '../data-plane.ts';
import type { ResourceStore } from './resource-store.ts';

export interface ApplyContext {
  readonly dataPlane: Pick<
    DataPlane,
    | 'setCluster'
    | 'removeCluster'
    | 'setEndpoints'
    | 'setListener'
    | 'removeListener'
    | 'setRoutes'
    | 'removeRoutes'
    | 'setSecret'
    | 'removeSecret'
  >;
  readonly store: ResourceStore;
  readonly nowMs: number;
  /** Names that were asked for; an answer of a named type may hold more, which is not ours. */
  readonly wants: (type: ResourceType, name: string) => boolean;
}

export const applyResponse = (response: ReceivedResponse, context: ApplyContext): readonly ResourceProblem[] => {
  const { type, version } = response;
  const { store } = context;
  const problems: ResourceProblem[] = [];
  const given = new Set<string>();
  for (const resource of response.resources) {
    given.add(resource.name);
    if (!type.absenceRemoves && !context.wants(type, resource.name)) continue;
    const problem = applyOne(type, version, resource, context);
    if (problem !== undefined) problems.push({ name: resource.name, problem });
  }
  if (type.absenceRemoves) {
    for (const record of [...store.records(type.url)]) {
      if (!record.isStatic && !given.has(record.name)) removeOne(type, record.name, context);
    }
  }
  if (problems.length === 0) store.setVersion(type.url, version);
  return problems;
};

const applyOne = (type: ResourceType, version: string, received: ReceivedResource, context: ApplyContext): string | undefined => {
  const { store, nowMs } = context;
  const before = store.record(type.url, received.name);
  if (before?.isStatic) return undefined; // a static resource is never replaced, as in Envoy
  const fingerprint = fingerprintOf(received.bytes);
  if (before?.accepted && before.fingerprint === fingerprint) {
    store.confirm(type.url, received.name);
    return undefined;
  }
  let resource: Record<string, unknown> | undefined;
  try {
    resource = received.decode();
    if (type.nameField !== undefined && resourceName(type, resource) === '') throw new Error(`${type.nameField}: is missing`);
    setResource(type, resource, context.dataPlane);
  } catch (e) {
    const details = e instanceof Error ? e.message : String(e);
    store.refuse(type.url, received.name, { details, version, atMs: nowMs, resource });
    return details;
  }
  store.accept(type.url, received.name, version, fingerprint, nowMs);
  return undefined;
};

/** Gives one decoded resource to the data plane. Throws PlanError. */
export const setResource = (type: ResourceType, resource: object, dataPlane: ApplyContext['dataPlane']): void => {
  switch (type.shortName) {
    case 'CDS':
      dataPlane.setCluster(resource as Cluster);
      break;
    case 'EDS':
      dataPlane.setEndpoints(resource as ClusterLoadAssignment);
      break;
    case 'LDS':
      dataPlane.setListener(resource as Listener);
      break;
    case 'RDS':
      dataPlane.setRoutes(resource as RouteConfiguration);
      break;
    case 'SDS':
      dataPlane.setSecret(resource as Secret);
      break;
    case 'NDS':
      break; // the agent's: the proxy never asks for it
  }
};

/** Takes one resource away from the data plane and the store. */
export const removeOne = (type: ResourceType, name: string, { dataPlane, store }: Pick<ApplyContext, 'dataPlane' | 'store'>): void => {
  const record = store.record(type.url, name);
  store.remove(type.url, name);
  // A listener that was refused for its address may have got it since, or may still wait for it.
  if (record !== undefined && type.shortName === 'LDS') dataPlane.removeListener(name);
  if (!record?.accepted) return;
  if (type.shortName === 'CDS') dataPlane.removeCluster(name);
  else if (type.shortName === 'RDS') dataPlane.removeRoutes(name);
  else if (type.shortName === 'SDS') dataPlane.removeSecret(name);
};

const fingerprintOf = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('base64');
