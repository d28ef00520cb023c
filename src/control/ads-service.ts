// All xDS streams: who is connected, what each class of proxies is to have in the present generation, and the pushes when
// a generation is made. One proxy's failure to translate leaves that proxy on its last configuration and is logged.
import { performance } from 'node:perf_hooks';
import type { Problem } from '../api/problem.ts';
import type { Log } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Instance } from '../mesh/instance.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import type { Node } from '../xds/gen/types.ts';
import { type ResourceShortName, resourceType } from '../xds/resource-types.ts';
import type { TypeStatus } from '../xds/sotw-server.ts';
import { AdsConnection, type StreamRefusal } from './ads-connection.ts';
import type { EventHub } from './event-hub.ts';
import { PROXY_CLASSES_MAX } from './limits.ts';
import type { ControlMetrics } from './metric-registry.ts';
import type { Generation, Model } from './model.ts';
import type { Pipeline } from './pipeline.ts';
import { type ProxyResources, ResourceEncoder } from './proxy-resources.ts';
import { PushQueue } from './push-queue.ts';
import type { TokenHolder } from './token-store.ts';

export interface AdsServiceOptions {
  readonly pipeline: Pipeline;
  readonly model: Model;
  readonly metrics: ControlMetrics;
  readonly events: EventHub;
  readonly log: Log;
  readonly now: () => number;
  /** The replica that was registered under a token's name. */
  readonly registered: (holder: TokenHolder) => Instance | undefined;
}

export interface StreamOptions {
  readonly onlyType: string | undefined;
  /** Undefined on an insecure listener for a client that brought no token. */
  readonly holder: TokenHolder | undefined;
  readonly send: (bytes: Uint8Array) => void;
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
  readonly #encoder = new ResourceEncoder();
  #classes = new Map<string, ProxyResources>();
  /** By class of proxies that the present generation cannot be translated for. */
  #failures = new Map<string, Problem>();
  #generation = -1;
  #ids = 0;

  constructor(options: AdsServiceOptions) {
    this.#options = options;
    options.metrics.gauge('pilot_xds', () => this.#connections.size);
    options.model.subscribe(() => this.#queue.add(this.#connections));
  }

  open(stream: StreamOptions): AdsConnection {
    const { now, metrics } = this.#options;
    const connection = new AdsConnection({
      id: ++this.#ids,
      onlyType: stream.onlyType,
      now,
      send: stream.send,
      admit: (node) => this.#admit(node, stream.holder),
      opened: (opened, node) => this.#opened(opened, node),
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
    this.#queue.delete(connection);
    if (this.#connections.delete(connection)) this.#publish(connection, 'disconnected');
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
    return [...this.#failures.values(), ...(limited && current ? this.#options.pipeline.http2Problems(current.snapshot) : [])];
  }

  close(): void {
    this.#queue.close();
    for (const connection of this.#connections) connection.close();
  }

  #admit(node: Node, holder: TokenHolder | undefined): Result<ProxyNode, StreamRefusal> {
    const parsed = this.#options.pipeline.parseNode(node);
    if (!parsed) {
      const id = JSON.stringify(node.id ?? '');
      return err({ code: 3, message: `node id ${id} is not of the form sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<domain>` });
    }
    if (!holder) return ok(parsed);
    const mismatch = nodeMismatch(parsed, holder);
    if (mismatch !== undefined) return err({ code: 7, message: mismatch });
    // What the node says of its identity is a claim; what the token says is known.
    return ok(proven(parsed, holder, this.#options.registered(holder)));
  }

  #opened(connection: AdsConnection, node: ProxyNode): ProxyResources | undefined {
    this.#connections.add(connection);
    this.#publish(connection, 'connected');
    return this.#resources(node, this.#options.model.current);
  }

  #push(connection: AdsConnection): void {
    const { node } = connection;
    if (!node || !this.#connections.has(connection)) return;
    const generation = this.#options.model.current;
    const resources = this.#resources(node, generation);
    if (!resources || !generation) return;
    try {
      connection.retarget(resources, generation.madeAtMs);
    } catch (error) {
      this.#failed(connection, error);
    }
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
    if (this.#generation !== generation.number || this.#classes.size > PROXY_CLASSES_MAX) {
      this.#generation = generation.number;
      this.#classes = new Map();
      this.#encoder.nextGeneration();
      this.#failures = new Map();
    }
    const key = classKey(node);
    const known = this.#classes.get(key);
    if (known || this.#failures.has(key)) return known;
    const { pipeline, metrics, log } = this.#options;
    const startedAtMs = performance.now();
    try {
      const made = this.#encoder.encode(pipeline.translate(generation.snapshot, node));
      this.#classes.set(key, made);
      const tookMs = Math.round(performance.now() - startedAtMs);
      log.debug('a class of proxies is translated', { node: node.id, generation: generation.number, tookMs });
      return made;
    } catch (error) {
      this.#failures.set(key, failureProblem(node, error));
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

const nodeMismatch = (node: ProxyNode, holder: TokenHolder): string | undefined => {
  const own = `${holder.name}.${holder.namespace}`;
  if (node.name !== holder.name || node.namespace !== holder.namespace)
    return `the token is ${own}'s; node ${JSON.stringify(node.id)} is another workload`;
  if (holder.address !== '' && !node.ipAddresses.includes(holder.address)) {
    return `the token is for ${own} at ${holder.address}; node ${JSON.stringify(node.id)} has another address`;
  }
  return undefined;
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
    ipAddresses: address === '' ? node.ipAddresses : [address],
    labels: instance === undefined ? node.labels : { ...Object.fromEntries(derived), ...instance.labels },
  };
};

/** Everything that translation may look at, so that equal keys mean equal configuration. */
const classKey = (node: ProxyNode): string =>
  JSON.stringify(node, (_, value: unknown) => (value instanceof Set ? [...value].sort() : value instanceof Map ? [...value] : value));
