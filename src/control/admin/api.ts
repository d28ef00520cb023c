// The admin API: what the CLI, `skein up` and the dashboard ask and tell the control plane. Routes and their checks; the
// work is done by the parts that are given. Who asks, and whether they may change anything, was decided at the door (auth/admin-access.ts).

import { formatProblem, type Problem } from '../../api/problem.ts';
import { documentBody } from '../../api/reading/document-body.ts';
import { ofKind, type Resource } from '../../api/resource.ts';
import { keySources } from '../../mesh/request-authentication.ts';
import { type ApplyDocument, type ApplyOptions, applyDocuments } from '../apply.ts';
import type { AccessTokens } from '../auth/access-tokens.ts';
import type { JoinTokens } from '../auth/join-tokens.ts';
import { proofRoutes } from '../auth/proof-routes.ts';
import { APPLY_BODY_BYTES_MAX } from '../limits.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import { isResourceName, parseInstance } from '../registration/instance-document.ts';
import type { InstanceRegistry } from '../registration/instance-registry.ts';
import { entryMetadata, entryStatus } from '../registration/registration-entry.ts';
import type { RegistrationStore } from '../registration/registration-store.ts';
import type { KeySetStore } from '../sources/key-set-store.ts';
import type { TokenStore } from '../token-store.ts';
import type { AdsService } from '../xds/ads-service.ts';
import type { EventHub } from './event-hub.ts';
import { eventStream } from './event-stream.ts';
import { explainRoutes } from './explain-routes.ts';
import { AdminError, type AdminReply, type AdminRequest, type AdminRoute, jsonBody } from './http.ts';
import type { OperatorHub } from './operator-hub.ts';
import { PieceStream } from './piece-stream.ts';
import { prometheusRoutes } from './prometheus-targets.ts';

export interface AdminApiOptions extends ApplyOptions {
  readonly ads: AdsService;
  readonly keySets: Pick<KeySetStore, 'prepare'>;
  readonly instances: InstanceRegistry;
  readonly entries: RegistrationStore;
  readonly tokens: TokenStore;
  readonly joinTokens: JoinTokens;
  readonly accessTokens: AccessTokens;
  readonly operators: OperatorHub;
  readonly events: EventHub;
  readonly metrics: ControlMetrics;
  readonly about: () => ControlPlaneAbout;
  readonly shutdown: () => void;
}

export interface ControlPlaneAbout {
  readonly pid: number;
  readonly version: string;
  readonly startedAt: string;
  readonly trustDomain: string;
  readonly xds: readonly string[];
  readonly config: readonly string[];
}

/** Stands for "no namespace" in a path. */
export const CLUSTER_WIDE = '-';

export const adminRoutes = (o: AdminApiOptions): readonly AdminRoute[] => [
  { method: 'GET', pattern: '/healthz', handle: () => plain('ok\n') },
  { method: 'GET', pattern: '/metrics', handle: () => plain(o.metrics.text(), 'text/plain; version=0.0.4') },
  { method: 'GET', pattern: '/v1/status', handle: () => ({ status: 200, json: statusDocument(o) }) },
  { method: 'GET', pattern: '/v1/proxies', handle: () => ({ status: 200, json: o.ads.proxies() }) },
  { method: '*', pattern: '/v1/proxies/:/:/admin/*', handle: (r) => tunnel(r, o) },
  { method: 'POST', pattern: '/v1/apply', bodyBytesMax: APPLY_BODY_BYTES_MAX, handle: (r) => apply(r, o) },
  { method: 'GET', pattern: '/v1/resources', handle: (r) => ({ status: 200, json: { resources: listResources(r, o) } }) },
  { method: 'DELETE', pattern: '/v1/resources/:/:/:', handle: (r) => deleteResource(r, o) },
  { method: 'GET', pattern: '/v1/instances', handle: () => ({ status: 200, json: { instances: o.instances.list() } }) },
  { method: 'PUT', pattern: '/v1/instances/:/:', handle: (r) => putInstance(r, o) },
  { method: 'DELETE', pattern: '/v1/instances/:/:', handle: (r) => deleteInstance(r, o) },
  { method: 'POST', pattern: '/v1/tokens', handle: (r) => mintToken(r, o) },
  ...proofRoutes(o),
  ...explainRoutes(o),
  ...prometheusRoutes(o),
  { method: 'GET', pattern: '/v1/events', handle: () => eventStream(o.events) },
  {
    method: 'POST',
    pattern: '/v1/shutdown',
    handle: () => {
      setImmediate(o.shutdown); // after the answer has been written
      return { status: 202, json: { stopping: true } };
    },
  },
];

const plain = (text: string, type = 'text/plain'): AdminReply => ({ status: 200, text, headers: { 'content-type': type } });

const statusDocument = (o: AdminApiOptions): unknown => {
  const proxies = new Map(o.ads.proxies().map((p) => [`${p.namespace}/${p.name}`, p]));
  const workloads = o.instances.list().map((i) => {
    const proxy = proxies.get(`${i.namespace}/${i.name}`);
    const { name, namespace, workload, labels, serviceAccount, address, ready, meshed } = i;
    return {
      name,
      namespace,
      workload,
      labels,
      serviceAccount,
      address,
      ready,
      meshed,
      connected: proxy !== undefined,
      proxy: proxy?.proxy ?? '',
    };
  });
  const generation = o.model.current;
  return {
    generation: generation?.number ?? 0,
    controlPlane: o.about(),
    workloads,
    problems: [...o.model.problems, ...o.ads.problems],
    files: o.model.files,
  };
};

/** Of a sidecar's admin API: answered in pieces for as long as somebody reads. */
const IN_PIECES: ReadonlySet<string> = new Set(['tap']);

const tunnel = async (request: AdminRequest, o: AdminApiOptions): Promise<AdminReply> => {
  const [namespace = '', name = '', path = ''] = request.parameters;
  const asked = { method: request.method, path: `/${path}${request.url.search}` };
  const pieces = IN_PIECES.has(path) ? new PieceStream() : undefined;
  const reply = await o.operators.request(namespace, name, request.body === '' ? asked : { ...asked, body: request.body }, pieces);
  if (reply.ok) {
    const type = Object.entries(reply.value.headers).find(([k]) => k.toLowerCase() === 'content-type')?.[1] ?? 'text/plain';
    if (!/^[ -~]*$/.test(type)) throw new AdminError(502, 'BAD_REPLY', `the agent of ${name}.${namespace} answered with a broken header`);
    const { cancel } = reply.value;
    if (cancel !== undefined && pieces !== undefined) return pieces.reply(type, cancel);
    return { status: reply.value.status, text: reply.value.body, headers: { 'content-type': type } };
  }
  const who = `${name}.${namespace}`;
  switch (reply.error) {
    case 'not-connected':
      throw new AdminError(404, 'NOT_CONNECTED', `no agent of ${who} is connected`);
    case 'disconnected':
      throw new AdminError(502, 'DISCONNECTED', `the agent of ${who} went away before it answered`);
    case 'timeout':
      throw new AdminError(504, 'TIMEOUT', `the agent of ${who} did not answer in time`);
    default:
      throw new AdminError(503, 'BUSY', `too many requests to ${who} are waiting`);
  }
};

const apply = async (request: AdminRequest, o: AdminApiOptions): Promise<AdminReply> => {
  const { documents, dryRun = false, namespace = 'default' } = jsonBody(request, ['documents', 'dryRun', 'namespace']);
  if (!isDocuments(documents)) throw new AdminError(400, 'INVALID', 'documents must be a list of {file, text}');
  if (typeof dryRun !== 'boolean') throw new AdminError(400, 'INVALID', 'dryRun must be true or false');
  if (!isResourceName(namespace)) throw new AdminError(400, 'INVALID', 'namespace must be a lower-case DNS name');
  if (!dryRun) await o.keySets.prepare(wantedKeys(documents, namespace, o));
  const result = applyDocuments(documents, { namespace, dryRun }, o);
  if (result.ok) for (const { kind } of result.value.applied) o.metrics.count('galley_validation_passed', { resource: kind });
  else
    for (const { code, severity } of result.error) if (severity === 'error') o.metrics.count('galley_validation_failed', { reason: code });
  if (result.ok) return { status: 200, json: result.value };
  return {
    status: 422,
    json: { problems: result.error, error: { code: 'REFUSED', message: firstProblem(result.error), problems: result.error } },
  };
};

/** What the documents' token rules are checked with. They may yet be refused: a key set does no harm. */
const wantedKeys = (documents: readonly ApplyDocument[], defaultNamespace: string, { pipeline }: AdminApiOptions) =>
  documents
    .filter((d) => d.text.includes('RequestAuthentication'))
    .flatMap((d) => keySources(ofKind(pipeline.parseDocuments(d.file, d.text, { defaultNamespace }).resources, 'RequestAuthentication')));

const firstProblem = (problems: readonly Problem[]): string => {
  const first = problems.find((p) => p.severity === 'error');
  return first ? formatProblem(first) : 'refused';
};

const isDocuments = (value: unknown): value is readonly ApplyDocument[] =>
  Array.isArray(value) && value.every((d: unknown) => isDocument(d));

const isDocument = (value: unknown): value is ApplyDocument =>
  typeof value === 'object' &&
  value !== null &&
  'file' in value &&
  'text' in value &&
  typeof value.file === 'string' &&
  typeof value.text === 'string';

const listResources = (request: AdminRequest, o: AdminApiOptions): readonly unknown[] => {
  const query = request.url.searchParams;
  const wanted = (name: string, value: string): boolean => !query.has(name) || query.get(name) === value;
  const all = o.model.current?.resources ?? [];
  return all
    .filter((r) => wanted('kind', r.kind) && wanted('namespace', r.namespace) && wanted('name', r.name))
    .map((r) => resourceDocument(r, o));
};

const resourceDocument = (resource: Resource, o: AdminApiOptions): unknown => {
  const { apiVersion, kind, name, namespace, labels, annotations, creationTimestamp, origin } = resource;
  const entry = o.entries.find(resource);
  const status = entry && entryStatus(entry);
  const metadata = {
    name,
    ...(namespace === '' ? {} : { namespace }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    ...(entry && entryMetadata(entry)),
  };
  const source = entry ? 'registered' : o.objects.holds(resource) ? 'applied' : 'file';
  return {
    object: { apiVersion, kind, metadata, ...documentBody(resource), ...(status && { status }) },
    origin: { source, file: origin.file, line: origin.line },
  };
};

const deleteResource = (request: AdminRequest, o: AdminApiOptions): AdminReply => {
  const [kind = '', pathNamespace = '', name = ''] = request.parameters;
  const namespace = pathNamespace === CLUSTER_WIDE ? '' : pathNamespace;
  if (o.objects.remove({ kind, namespace, name })) {
    return { status: 200, json: { deleted: { kind, namespace, name }, generation: o.model.rebuild()?.number ?? 0 } };
  }
  const owner = o.folders.flatMap((f) => f.state.resources).find((r) => r.kind === kind && r.namespace === namespace && r.name === name);
  const label = `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
  if (owner)
    throw new AdminError(
      409,
      'OWNED_BY_FILE',
      `${label} belongs to the watched file ${owner.origin.file}:${owner.origin.line}; edit that file instead`,
    );
  if (kind === 'WorkloadEntry' && o.entries.get(namespace, name))
    throw new AdminError(
      409,
      'OWNED_BY_WORKLOAD',
      `${label} is registered by its workload: it goes when the workload has gone and its time of grace is over`,
    );
  throw new AdminError(404, 'NOT_FOUND', `there is no applied ${label}`);
};

const putInstance = (request: AdminRequest, o: AdminApiOptions): AdminReply => {
  const [namespace = '', name = ''] = request.parameters;
  const fields = ['name', 'namespace', 'workload', 'address', 'labels', 'serviceAccount', 'ports', 'ready', 'meshed', 'locality'];
  const parsed = parseInstance(namespace, name, jsonBody(request, fields));
  if (!parsed.ok) throw new AdminError(400, 'INVALID', parsed.error);
  o.instances.put(parsed.value);
  return { status: 200, json: parsed.value };
};

const deleteInstance = (request: AdminRequest, o: AdminApiOptions): AdminReply => {
  const [namespace = '', name = ''] = request.parameters;
  o.tokens.revoke(namespace, name);
  if (!o.instances.remove(namespace, name)) throw new AdminError(404, 'NOT_FOUND', `no instance ${namespace}/${name} is registered`);
  return { status: 200, json: { deleted: { namespace, name } } };
};

const mintToken = (request: AdminRequest, o: AdminApiOptions): AdminReply => {
  const { namespace, serviceAccount, name, address = '' } = jsonBody(request, ['namespace', 'serviceAccount', 'name', 'address']);
  if (!isResourceName(namespace) || !isResourceName(serviceAccount) || !isResourceName(name)) {
    throw new AdminError(400, 'INVALID', 'namespace, serviceAccount and name must be lower-case DNS names');
  }
  if (typeof address !== 'string') throw new AdminError(400, 'INVALID', 'address must be a string');
  return { status: 201, json: { token: o.tokens.mint({ namespace, serviceAccount, name, address }, o.now()) } };
};
