// One discovery response onto the data plane: good resources are taken, bad ones named, what a full answer leaves out
// is removed. An unchanged resource is not touched, so that a push of everything costs what has changed.
import { createHash } from 'node:crypto';
import { PlanError } from '../../plan/plan-error.ts';
import type { ReceivedResource, ReceivedResponse, ResourceProblem } from '../../xds/discovery-client.ts';
import type {
  Cluster,
  ClusterLoadAssignment,
  Core_TypedExtensionConfig,
  Listener,
  RouteConfiguration,
  Secret,
  VirtualHost,
} from '../../xds/gen/types.ts';
import { refusedField } from '../../xds/refused-fields.ts';
import { CLUSTER_TYPE, LISTENER_TYPE, type ResourceType, resourceName, VIRTUAL_HOST_TYPE } from '../../xds/resource-types.ts';
import type { DataPlane } from '../data-plane.ts';
import type { DiscoveredHost } from '../on-demand/discovered-hosts.ts';
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
    | 'setExtension'
    | 'removeExtension'
    | 'updateHosts'
    | 'notThere'
  >;
  readonly store: ResourceStore;
  readonly nowMs: number;
  /** Names that were asked for; an answer of a named type may hold more, which is not ours. */
  readonly wants: (type: ResourceType, name: string) => boolean;
}

export const applyResponse = (response: ReceivedResponse, context: ApplyContext): readonly ResourceProblem[] => {
  const { type, version } = response;
  if (type === VIRTUAL_HOST_TYPE) return applyHosts(response, context);
  const { store } = context;
  const problems: ResourceProblem[] = [];
  const given = new Set<string>();
  for (const resource of response.resources) {
    given.add(resource.name);
    if (!type.absenceRemoves && !context.wants(type, resource.name)) continue;
    const problem = applyOne(type, version, resource, context);
    if (problem === undefined) continue;
    problems.push({ name: resource.name, problem });
    notThere(type, resource.name, context);
  }
  for (const name of response.removed ?? []) removeNamed(type, name, context);
  if (type.absenceRemoves && response.removed === undefined) {
    for (const record of [...store.records(type.url)]) {
      if (!record.isStatic && !given.has(record.name)) removeOne(type, record.name, context);
    }
  }
  if (problems.length === 0) store.setVersion(type.url, version);
  return problems;
};

/** Virtual hosts are taken together: one table is made of all that came. */
const applyHosts = (response: ReceivedResponse, { dataPlane, store, nowMs }: ApplyContext): readonly ResourceProblem[] => {
  const { type, version } = response;
  const problems: ResourceProblem[] = [];
  const set: DiscoveredHost[] = [];
  for (const { name, aliases = [], decode } of response.resources) {
    try {
      set.push({ name, aliases, host: decode() as VirtualHost });
    } catch (e) {
      problems.push({ name, problem: e instanceof Error ? e.message : String(e) });
    }
  }
  const removed = response.removed ?? [];
  const outcome = dataPlane.updateHosts({ set, removed });
  for (const [name, problem] of outcome.problems) problems.push({ name, problem });
  for (const name of removed) store.remove(type.url, name);
  const bad = new Map(problems.map((p) => [p.name, p.problem]));
  for (const { name, host } of set) {
    const details = bad.get(name);
    if (details === undefined) store.accept(type.url, name, version, '', nowMs);
    else store.refuse(type.url, name, { details, version, atMs: nowMs, resource: host as Readonly<Record<string, unknown>> });
  }
  if (problems.length === 0) store.setVersion(type.url, version);
  return problems;
};

/** Nobody waits for it any longer. */
const notThere = (type: ResourceType, name: string, { dataPlane }: ApplyContext): void => {
  if (type === CLUSTER_TYPE) dataPlane.notThere('cluster', name);
  else if (type === LISTENER_TYPE) dataPlane.notThere('listener', name);
};

/** As Envoy: endpoints, routes and secrets that a server takes back stay with those who use them. */
const removeNamed = (type: ResourceType, name: string, context: ApplyContext): void => {
  notThere(type, name, context);
  if (!type.absenceRemoves && type.shortName !== 'ECDS') return;
  if (context.store.record(type.url, name)?.isStatic !== true) removeOne(type, name, context);
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
  const refused = refusedField(type.type, resource);
  if (refused !== undefined)
    throw new PlanError(refused.path, refused.reason === '' ? 'is not supported' : `is not supported: ${refused.reason}`);
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
    case 'ECDS':
      dataPlane.setExtension(resource as Core_TypedExtensionConfig);
      break;
    case 'VHDS': // taken together, by applyHosts
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
  else if (type.shortName === 'ECDS') dataPlane.removeExtension(name);
};

const fingerprintOf = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('base64');
