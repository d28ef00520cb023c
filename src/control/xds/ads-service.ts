// All xDS streams: who is connected, what each proxy is to have in the present generation, and the pushes when
// a generation is made. One proxy's failure to translate leaves that proxy on its last configuration and is logged.
import { performance } from 'node:perf_hooks';
import type { Problem } from '../../api/problem.ts';
import { ofKind } from '../../api/resource.ts';
import { isGatewayWorkload } from '../../api/rules/validate-workload.ts';
import type { Log } from '../../base/log.ts';
import { err, type Result } from '../../base/result.ts';
import type { Instance } from '../../mesh/instance.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { TypeStatus } from '../../xds/discovery-machine.ts';
import type { Node } from '../../xds/gen/types.ts';
import { type ResourceShortName, resourceType } from '../../xds/resource-types.ts';
import { SharedWork } from '../../xds/shared-work.ts';
import type { EventHub } from '../admin/event-hub.ts';
import { nodeMismatch, type Replicas } from '../auth/caller.ts';
import { CLOSES_PER_TRIM } from '../limits.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { Generation, Model } from '../model.ts';
import type { Pipeline } from '../pipeline.ts';
import type { Registrations } from '../registration/registrations.ts';
import type { TokenHolder } from '../token-store.ts';
import { unenforcedProblems } from '../unenforced-policies.ts';
import { AdsConnection, type StreamProtocol, type StreamRefusal } from './ads-connection.ts';
import { nackProblems, type Refusal } from './nack-problems.ts';
import { noteProblems, type ProxyNotes } from './proxy-notes.ts';
import { ProxyConfigs, type ProxyResources } from './proxy-resources.ts';
import { PushQueue } from './push-queue.ts';
import { RequestCache } from './request-cache.ts';
import { type Withheld, withheldProblems } from './withheld-secrets.ts';

export interface AdsServiceOptions {
  readonly pipeline: Pipeline;
  readonly model: Model;
  readonly metrics: ControlMetrics;
  readonly events: EventHub;
  readonly log: Log;
  readonly now: () => number;
  /** Those that run. */
  readonly replicas: Replicas;
  /** Workloads that register by their streams. */
  readonly registrations: Pick<Registrations, 'connect' | 'disconnect' | 'health'>;
}

export interface StreamOptions {
  readonly protocol: StreamProtocol;
  /** Undefined on an insecure listener for a client that brought no token. */
  readonly holder: TokenHolder | undefined;
  readonly send: (pieces: readonly Uint8Array[]) => void;
  readonly writable: () => boolean;
}

export interface ProxyStatus {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly proxy: string;
  readonly connectedAt: string;
  readonly types: Readonly<Partial<Record<ResourceShortName, TypeStatus>>>;
}

export class AdsService {
  readonly #options: AdsServiceOptions;
  readonly #connections = new Set<AdsConnection>();
  readonly #queue = new PushQueue<AdsConnection>((connection) => this.#push(connection));
  readonly #shared = new SharedWork();
  readonly #requests = new RequestCache();
  readonly #configs: ProxyConfigs;
  /** By proxy that the present generation cannot be translated for. */
  readonly #failures = new Map<string, Problem>();
  /** Of the connected proxies, by name. */
  readonly #said = new Map<string, ProxyNotes>();
  #generation = -1;
  #ids = 0;
  #closes = 0;

  constructor(options: AdsServiceOptions) {
    this.#options = options;
    this.#configs = new ProxyConfigs(options.pipeline, () => this.#connections.size);
    options.metrics.gauge('pilot_xds', () => this.#byVersion());
    options.model.subscribe(() => this.#queue.add(this.#connections));
  }

  open(stream: StreamOptions): AdsConnection {
    const { now, metrics, registrations } = this.#options;
    const id = ++this.#ids;
    const connection = new AdsConnection({
      id,
      protocol: stream.protocol,
      shared: this.#shared,
      requests: this.#requests,
      now,
      send: (pieces, type) => {
        const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
        metrics.observe('pilot_xds_config_size_bytes', bytes, { type });
        stream.send(pieces);
      },
      writable: stream.writable,
      admit: (node) => this.#admit(id, node, stream.holder),
      health: (healthy, message) => registrations.health(id, healthy, message),
      opened: (opened) => this.#opened(opened),
      withheld: (c, names) =>
        this.#options.log.warning('a proxy is not given secrets: it has not proven which workload it is', {
          node: c.node?.id,
          secrets: JSON.stringify(names),
        }),
      answered: (c, kind, typeUrl, message) => this.#answered(c, kind, typeUrl, message),
      converged: (c, sinceMs) => {
        metrics.converged(now() - sinceMs);
        this.#options.log.debug('a proxy has taken the generation', { node: c.node?.id, tookMs: now() - sinceMs });
        this.#publish(c, 'synced');
      },
      failed: (c, error) => this.#failed(c, error),
    });
    return connection;
  }

  closed(connection: AdsConnection): void {
    connection.close();
    this.#options.registrations.disconnect(connection.id);
    this.#queue.delete(connection);
    if (!this.#connections.delete(connection)) return;
    this.#forget(connection);
    this.#publish(connection, 'disconnected');
    if (++this.#closes % CLOSES_PER_TRIM === 0) this.#configs.trim();
  }

  /** What is said of a proxy stays while another stream of it does: who comes back comes before the old stream is seen to end. */
  #forget({ node }: AdsConnection): void {
    if (!node) return;
    const name = nameOf(node);
    if (!this.#said.has(name)) return;
    for (const { node: other } of this.#connections) if (other?.name === node.name && other.namespace === node.namespace) return;
    this.#said.delete(name);
  }

  /** One entry per connected proxy; of several streams of one proxy the newest speaks. */
  proxies(): readonly ProxyStatus[] {
    const newest = new Map<string, AdsConnection>();
    for (const connection of this.#connections) {
      const { node } = connection;
      if (node) newest.set(`${node.namespace}/${node.name}/${node.id}`, connection);
    }
    return [...newest.values()].map(statusOf).sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
  }

  /** What is wrong for the proxies that are connected now. */
  get problems(): readonly Problem[] {
    const { current } = this.#options.model;
    const limited = [...this.#connections].some((c) => c.node?.http2 === false);
    const { pipeline } = this.#options;
    return [
      ...this.#failures.values(),
      ...noteProblems(this.#said),
      ...(limited && current ? pipeline.http2Problems(current.snapshot) : []),
      ...withheldProblems(this.#withheld(), current?.resources ?? []),
      ...nackProblems(this.#refusals(), current?.resources ?? []),
      ...(current ? unenforcedProblems(pipeline, current.snapshot, this.nodes()) : []),
    ];
  }

  #withheld(): readonly Withheld[] {
    return [...this.#connections].flatMap((c) => (c.node ? [{ proxy: nameOf(c.node), names: c.withheld() }] : []));
  }

  #refusals(): readonly Refusal[] {
    const snapshot = this.#options.model.current?.snapshot;
    return [...this.#connections].flatMap((c) => {
      const { node } = c;
      const proxy = `${node?.name}.${node?.namespace}`;
      const said = node && this.#said.get(nameOf(node))?.patches;
      const applied = said && new Set(said.flatMap((report) => [...report.applied]));
      const by = node && snapshot && { node, snapshot, applied };
      return c.refusals().map((refusal) => ({ proxy, ...refusal, by }));
    });
  }

  /** Of the connected proxies. */
  nodes(): readonly ProxyNode[] {
    return [...this.#connections].flatMap((c) => (c.node === undefined ? [] : [c.node]));
  }

  close(): void {
    this.#queue.close();
    for (const connection of this.#connections) connection.close();
  }

  #admit(id: number, node: Node, holder: TokenHolder | undefined): Result<ProxyNode, StreamRefusal> {
    const parsed = this.#options.pipeline.parseNode(node);
    // The name is printed on terminals and in logs.
    if (!parsed || /\p{Cc}/u.test(parsed.id)) {
      const id = JSON.stringify(node.id ?? '');
      return err({ code: 3, message: `node id ${id} is not of the form sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<domain>` });
    }
    const { replicas, registrations } = this.#options;
    if (!holder) return registrations.connect(id, parsed, undefined);
    const mismatch = nodeMismatch(parsed, holder, replicas);
    if (mismatch !== undefined) return err({ code: 7, message: mismatch });
    const instance = replicaOf(parsed, holder, replicas);
    if (this.#isMereApplication(parsed, instance)) {
      const own = `${parsed.name}.${parsed.namespace}`;
      return err({ code: 7, message: `${own} is an application; node ${JSON.stringify(parsed.id)} says that it is a gateway` });
    }
    // What the node says of its identity is a claim; what the token says is known.
    return registrations.connect(id, proven(parsed, holder, instance), holder);
  }

  /** Gateways are given the keys of TLS servers, so who runs an application is none: known where a Workload describes it. */
  #isMereApplication(node: ProxyNode, instance: Instance | undefined): boolean {
    if (node.kind !== 'router' || instance === undefined) return false;
    const described = ofKind(this.#options.model.current?.resources ?? [], 'Workload').find(
      (w) => w.name === instance.workload && w.namespace === instance.namespace,
    );
    return described !== undefined && !isGatewayWorkload(described.annotations);
  }

  /** Which replica the caller is: as its proof says, or as its node does where the caller can be that. */
  replicaOf(caller: TokenHolder, nodeId: string): { readonly namespace: string; readonly name: string } | undefined {
    if (caller.name !== '') return caller;
    const node = this.#options.pipeline.parseNode({ id: nodeId });
    return node && nodeMismatch(node, caller, this.#options.replicas) === undefined ? node : undefined;
  }

  /** The node that the caller may speak for; without a caller, on an insecure port, the one it says. */
  speaker(node: Node, caller: TokenHolder | undefined): ProxyNode | undefined {
    const parsed = this.#options.pipeline.parseNode(node);
    if (!parsed || /\p{Cc}/u.test(parsed.id)) return undefined;
    if (!caller) return parsed;
    const { replicas } = this.#options;
    if (nodeMismatch(parsed, caller, replicas) !== undefined) return undefined;
    const instance = replicaOf(parsed, caller, replicas);
    return this.#isMereApplication(parsed, instance) ? undefined : proven(parsed, caller, instance);
  }

  /** A node that was never seen costs milliseconds: it waits for its turn, and who is gone by then costs none. */
  #opened(connection: AdsConnection): void {
    this.#connections.add(connection);
    this.#publish(connection, 'connected');
    this.#queue.addFresh(connection);
  }

  #push(connection: AdsConnection): void {
    const { node } = connection;
    if (!node || !this.#connections.has(connection)) return;
    const generation = this.#options.model.current;
    const resources = this.#resources(node, generation);
    if (!resources || !generation) return;
    const { metrics, now } = this.#options;
    const startedAtMs = performance.now();
    metrics.observe('pilot_proxy_queue_time', Math.max(0, now() - Math.max(generation.madeAtMs, connection.connectedAtMs)) / 1000);
    try {
      connection.retarget(resources, generation.madeAtMs);
      metrics.observe('pilot_xds_push_time', (performance.now() - startedAtMs) / 1000, { type: 'all' });
    } catch (error) {
      metrics.count('pilot_xds_push_errors');
      this.#failed(connection, error);
    }
  }

  /** The version that proxies give themselves. */
  #byVersion(): Iterable<readonly [labels: Readonly<Record<string, string>>, value: number]> {
    const counts = new Map<string, number>();
    for (const { node } of this.#connections) {
      const told = node?.metadata['ISTIO_VERSION'];
      const version = typeof told === 'string' && told !== '' ? told.slice(0, VERSION_CHARS_MAX) : 'unknown';
      counts.set(version, (counts.get(version) ?? 0) + 1);
    }
    return counts.size === 0 ? [[{}, 0]] : [...counts].map(([version, n]) => [{ version }, n] as const);
  }

  /** A defect met while serving one proxy: that proxy keeps what it has, the others do not notice. */
  #failed(connection: AdsConnection, error: unknown): void {
    this.#options.log.error('a push failed', {
      node: connection.node?.id,
      problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }

  #resources(node: ProxyNode, generation: Generation | undefined): ProxyResources | undefined {
    if (!generation) return undefined;
    if (this.#generation !== generation.number) {
      this.#generation = generation.number;
      this.#failures.clear();
    }
    const { metrics, log } = this.#options;
    const startedAtMs = performance.now();
    try {
      const made = this.#configs.resources(generation.snapshot, node);
      if (made.said) this.#said.set(nameOf(node), made.said);
      const tookMs = Math.round(performance.now() - startedAtMs);
      if (tookMs > 0) log.debug('a proxy is translated', { node: node.id, generation: generation.number, tookMs });
      return made;
    } catch (error) {
      const proxy = `${node.namespace}/${node.name}`;
      if (this.#failures.has(proxy)) return undefined;
      this.#failures.set(proxy, failureProblem(node, error));
      metrics.count('pilot_xds_translate_failures');
      log.error('a proxy keeps its last configuration: translation failed', {
        node: node.id,
        generation: generation.number,
        problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
      return undefined;
    }
  }

  #answered(connection: AdsConnection, kind: 'ack' | 'nack', typeUrl: string, message: string): void {
    const { metrics, log } = this.#options;
    const type = resourceType(typeUrl)?.shortName ?? 'other';
    metrics.count('pilot_xds_pushes', { type: type.toLowerCase() });
    if (kind === 'ack') return;
    metrics.count('pilot_total_xds_rejects', { type: type.toLowerCase() });
    if (REJECTS.has(type)) metrics.count(`pilot_xds_${type.toLowerCase()}_reject`);
    log.warning('a proxy refused its configuration', { node: connection.node?.id, type, problem: message });
    this.#publish(connection, 'nack', `${type}: ${message}`);
  }

  #publish(connection: AdsConnection, state: 'connected' | 'disconnected' | 'synced' | 'nack', detail?: string): void {
    const { node } = connection;
    if (!node) return;
    const event = { type: 'proxy', namespace: node.namespace, name: node.name, state } as const;
    this.#options.events.publish(detail === undefined ? event : { ...event, detail });
  }
}

/** Of what a proxy says of itself. */
const VERSION_CHARS_MAX = 64;

/** Types whose refusals istiod counts by a name of their own. */
const REJECTS: ReadonlySet<string> = new Set(['CDS', 'EDS', 'LDS', 'RDS']);

const nameOf = (node: ProxyNode): string => `${node.name}.${node.namespace}`;

const failureProblem = (node: ProxyNode, error: unknown): Problem => ({
  code: 'INTERNAL',
  severity: 'error',
  file: '',
  line: 0,
  column: 0,
  path: '',
  message: `${node.name}.${node.namespace} keeps its last configuration: ${error instanceof Error ? error.message : String(error)}`,
  hint: 'this is a defect of Skein',
});

const statusOf = (connection: AdsConnection): ProxyStatus => ({
  name: connection.node?.name ?? '',
  namespace: connection.node?.namespace ?? '',
  node: connection.node?.id ?? '',
  proxy: connection.userAgent === '' ? 'unknown' : connection.userAgent,
  connectedAt: new Date(connection.connectedAtMs).toISOString(),
  types: connection.types(),
});

/** Registered under the name that the proof says; where it says an account only, under the node's, at its address. */
const replicaOf = (node: ProxyNode, holder: TokenHolder, replicas: Replicas): Instance | undefined => {
  if (holder.name !== '') return replicas.byName(holder.namespace, holder.name);
  const found = replicas.byName(node.namespace, node.name);
  return found?.serviceAccount === holder.serviceAccount && node.ipAddresses.includes(found.address) ? found : undefined;
};

/** Labels that an agent derives for telemetry; they select nothing. */
const DERIVED_LABELS = ['service.istio.io/canonical-name', 'service.istio.io/canonical-revision'] as const;

/** Further addresses or labels would bring the listeners and policies of the workloads that they belong to. */
const proven = (node: ProxyNode, holder: TokenHolder, instance: Instance | undefined): ProxyNode => {
  const { serviceAccount, address } = holder;
  const derived = DERIVED_LABELS.flatMap((key) => (node.labels[key] === undefined ? [] : [[key, node.labels[key]] as const]));
  return {
    ...node,
    serviceAccount,
    ipAddresses: address !== '' ? [address] : instance !== undefined && holder.name === '' ? [instance.address] : node.ipAddresses,
    labels: instance === undefined ? node.labels : { ...Object.fromEntries(derived), ...instance.labels },
    proven: instance !== undefined,
  };
};
