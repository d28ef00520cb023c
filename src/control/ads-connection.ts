// One xDS stream of one proxy: the protocol machine, the stages of what it may see, and its deadline. Knows nothing of gRPC;
// refuses by returning why, and never answers before its node has been admitted.
import type { Result } from '../base/result.ts';
import { ok } from '../base/result.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { CodecError, decode } from '../xds/codec.ts';
import type { DiscoveryRequest, Node } from '../xds/gen/types.ts';
import { RESOURCE_TYPES, type ResourceShortName } from '../xds/resource-types.ts';
import { SotwServer, type TypeStatus } from '../xds/sotw-server.ts';
import { NACK_TEXT_CHARS_MAX, SUBSCRIPTIONS_MAX } from './limits.ts';
import type { ProxyResources } from './proxy-resources.ts';
import { PushStages } from './push-stages.ts';

/** gRPC status codes that a stream ends with. */
export type StreamRefusal = { readonly code: 3 | 7 | 8 | 16; readonly message: string };

export interface AdsConnectionOptions {
  readonly id: number;
  /** The only type of a single-type stream; undefined on the aggregated one. */
  readonly onlyType: string | undefined;
  readonly now: () => number;
  readonly send: (bytes: Uint8Array) => void;
  /** Decides from the first request's node who this is. */
  readonly admit: (node: Node) => Result<ProxyNode, StreamRefusal>;
  /** Called once the node is admitted: the target to begin with, undefined while there is none. */
  readonly opened: (connection: AdsConnection, node: ProxyNode) => ProxyResources | undefined;
  readonly answered: (connection: AdsConnection, kind: 'ack' | 'nack', typeUrl: string, message: string) => void;
  /** Everything of the present target is acknowledged; `sinceMs` is when that target was made. */
  readonly converged: (connection: AdsConnection, sinceMs: number) => void;
  /** A defect, in a turn of the event loop where nobody else could catch it. */
  readonly failed: (connection: AdsConnection, error: unknown) => void;
}

const CONTROL_PLANE = 'skein';

export class AdsConnection {
  readonly id: number;
  readonly connectedAtMs: number;
  readonly #options: AdsConnectionOptions;
  readonly #server: SotwServer;
  readonly #stages: PushStages;
  #node: ProxyNode | undefined;
  #userAgent = '';
  #timer: NodeJS.Timeout | undefined;
  #targetMadeAtMs: number | undefined;
  #closed = false;

  constructor(options: AdsConnectionOptions) {
    this.id = options.id;
    this.#options = options;
    this.connectedAtMs = options.now();
    this.#server = new SotwServer({ send: options.send, content: (url) => this.#stages.content(url), controlPlane: CONTROL_PLANE });
    this.#stages = new PushStages(this.#server);
  }

  get node(): ProxyNode | undefined {
    return this.#node;
  }

  get userAgent(): string {
    return this.#userAgent;
  }

  types(): Readonly<Partial<Record<ResourceShortName, TypeStatus>>> {
    return Object.fromEntries(RESOURCE_TYPES.filter((t) => t.shortName !== 'SDS').map((t) => [t.shortName, this.#server.status(t.url)]));
  }

  /** A refusal ends the stream. */
  received(bytes: Uint8Array): Result<void, StreamRefusal> {
    let request: DiscoveryRequest;
    try {
      request = decode('envoy.service.discovery.v3.DiscoveryRequest', bytes);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      return refuse(3, `malformed discovery request: ${error.message}`);
    }
    const typed = this.#typed(request);
    if (!typed.ok) return typed;
    if (!this.#node) {
      const opened = this.#open(request);
      if (!opened.ok) return opened;
    }
    this.#take(typed.value);
    return ok(undefined);
  }

  retarget(target: ProxyResources, madeAtMs: number): void {
    if (this.#closed) return;
    this.#targetMadeAtMs = madeAtMs;
    this.#stages.retarget(target, this.#options.now());
    this.#settle();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #typed(request: DiscoveryRequest): Result<DiscoveryRequest, StreamRefusal> {
    const { onlyType } = this.#options;
    if ((request.resource_names?.length ?? 0) > SUBSCRIPTIONS_MAX) return refuse(8, `more than ${SUBSCRIPTIONS_MAX} resource names`);
    const url = request.type_url ?? '';
    if (onlyType === undefined) return url === '' ? refuse(3, 'type_url is required on an aggregated stream') : ok(request);
    if (url !== '' && url !== onlyType) return refuse(3, `this stream serves ${onlyType}, not ${url}`);
    return ok({ ...request, type_url: onlyType });
  }

  #open(request: DiscoveryRequest): Result<void, StreamRefusal> {
    if (!request.node) return refuse(3, 'the first request of a stream must carry its node');
    const admitted = this.#options.admit(request.node);
    if (!admitted.ok) return admitted;
    this.#node = admitted.value;
    this.#userAgent = request.node.user_agent_name ?? '';
    const target = this.#options.opened(this, admitted.value);
    if (target) this.#stages.retarget(target, this.#options.now());
    return ok(undefined);
  }

  #take(request: DiscoveryRequest): void {
    const outcome = this.#server.request(request);
    if (outcome.kind === 'ack' || outcome.kind === 'nack') {
      this.#options.answered(this, outcome.kind, outcome.typeUrl, (outcome.message ?? '').slice(0, NACK_TEXT_CHARS_MAX));
    }
    this.#stages.advance(this.#options.now());
    this.#settle();
  }

  /** What was sent may be what a later stage waited for: a second look costs little and saves a round. */
  #settle(): void {
    this.#server.refresh();
    this.#stages.advance(this.#options.now());
    this.#server.refresh();
    if (this.#targetMadeAtMs !== undefined && this.#stages.converged) {
      this.#options.converged(this, this.#targetMadeAtMs);
      this.#targetMadeAtMs = undefined;
    }
    clearTimeout(this.#timer);
    const at = this.#stages.deadlineMs;
    if (at === undefined) return;
    this.#timer = setTimeout(() => this.#due(), Math.max(0, at - this.#options.now()));
    this.#timer.unref();
  }

  #due(): void {
    if (this.#closed) return;
    try {
      this.#stages.advance(this.#options.now());
      this.#settle();
    } catch (error) {
      this.#options.failed(this, error);
    }
  }
}

const refuse = (code: StreamRefusal['code'], message: string): { readonly ok: false; readonly error: StreamRefusal } => ({
  ok: false,
  error: { code, message },
});
