// One xDS stream of one proxy: the protocol machine, the stages of what it may see, and its deadline. Knows nothing of gRPC;
// refuses by returning why, and never answers before its node has been admitted.
import type { Result } from '../../base/result.ts';
import { ok } from '../../base/result.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import { CodecError, decode, encode } from '../../xds/codec.ts';
import type { Content } from '../../xds/content.ts';
import { DeltaServer } from '../../xds/delta-server.ts';
import type { DiscoveryMachine, RequestOutcome, TypeStatus } from '../../xds/discovery-machine.ts';
import type { DeltaDiscoveryRequest, DiscoveryRequest, Node } from '../../xds/gen/types.ts';
import { HEALTH_TYPE_URL, RESOURCE_TYPES, type ResourceShortName, SECRET_TYPE } from '../../xds/resource-types.ts';
import type { SharedWork } from '../../xds/shared-work.ts';
import { SotwServer } from '../../xds/sotw-server.ts';
import {
  NACK_TEXT_CHARS_MAX,
  NODE_BYTES_MAX,
  STREAM_HELD_BYTES_MAX,
  STREAM_TYPES_MAX,
  SUBSCRIPTIONS_MAX,
  XDS_REQUEST_BYTES_MAX,
} from '../limits.ts';
import type { ProxyResources } from './proxy-resources.ts';
import { PushStages } from './push-stages.ts';
import type { RequestCache } from './request-cache.ts';
import { withheldNames } from './withheld-secrets.ts';

/** gRPC status codes that a stream ends with. */
export type StreamRefusal = { readonly code: 3 | 7 | 8 | 9 | 16; readonly message: string };

export interface StreamProtocol {
  /** Incremental, or the state of the world. */
  readonly delta: boolean;
  /** The only type of a single-type stream; undefined on the aggregated one. */
  readonly onlyType: string | undefined;
}

/** The machine of either variant behind one door. */
interface Machine extends DiscoveryMachine {
  readonly names: (request: Request) => number;
  readonly read: (bytes: Uint8Array) => Request;
  readonly take: (request: Request) => RequestOutcome;
}
type Request = Pick<DiscoveryRequest & DeltaDiscoveryRequest, 'node' | 'type_url' | 'error_detail'>;

export interface AdsConnectionOptions {
  readonly id: number;
  readonly protocol: StreamProtocol;
  readonly shared: SharedWork;
  readonly requests: RequestCache;
  readonly now: () => number;
  /** The pieces of one message; they are shared with other streams. */
  readonly send: (pieces: readonly Uint8Array[], typeUrl: string) => void;
  /** False while the client does not take what it was sent: it is then told the latest once it does. */
  readonly writable: () => boolean;
  /** Decides from the first request's node who this is. */
  readonly admit: (node: Node) => Result<ProxyNode, StreamRefusal>;
  /** What the agent says of its workload. */
  readonly health: (healthy: boolean, message: string) => void;
  /** Called once the node is admitted; `retarget` is to follow. */
  readonly opened: (connection: AdsConnection) => void;
  /** It asked for secrets that it will not be given. Once a stream. */
  readonly withheld: (connection: AdsConnection, names: readonly string[]) => void;
  readonly answered: (connection: AdsConnection, kind: 'ack' | 'nack', typeUrl: string, message: string) => void;
  /** Everything of the present target is acknowledged; `sinceMs` is when that target was made. */
  readonly converged: (connection: AdsConnection, sinceMs: number) => void;
  /** A defect, in a turn of the event loop where nobody else could catch it. */
  readonly failed: (connection: AdsConnection, error: unknown) => void;
}

const CONTROL_PLANE = 'skein';
const SELDOM: ReadonlySet<string> = new Set(['ECDS', 'PCDS', 'VHDS']);
const TOO_MANY = `more than ${SUBSCRIPTIONS_MAX} resource names`;

export class AdsConnection {
  readonly id: number;
  readonly connectedAtMs: number;
  readonly #options: AdsConnectionOptions;
  readonly #server: Machine;
  readonly #stages: PushStages;
  #node: ProxyNode | undefined;
  #userAgent = '';
  #timer: NodeJS.Timeout | undefined;
  #targetMadeAtMs: number | undefined;
  #closed = false;
  /** There may be something to say, and the client does not take it. */
  #waits = false;
  readonly #urls = new Set<string>();
  #withheldTold = false;

  constructor(options: AdsConnectionOptions) {
    this.id = options.id;
    this.#options = options;
    this.connectedAtMs = options.now();
    const content = (url: string): Content | undefined => this.#stages.content(url);
    this.#server = options.protocol.delta ? deltaMachine(options, content) : sotwMachine(options, content);
    this.#stages = new PushStages(this.#server, options.shared);
  }

  get node(): ProxyNode | undefined {
    return this.#node;
  }

  get userAgent(): string {
    return this.#userAgent;
  }

  types(): Readonly<Partial<Record<ResourceShortName, TypeStatus>>> {
    // Few proxies ask for these: they are no gap in what the others have.
    const shown = RESOURCE_TYPES.filter(
      (t) => t.shortName !== 'SDS' && (!SELDOM.has(t.shortName) || this.#server.subscribedNames(t.url) !== undefined),
    );
    return Object.fromEntries(shown.map((t) => [t.shortName, this.#server.status(t.url)]));
  }

  /** What stands refused, with what was to be taken. */
  refusals(): readonly { readonly type: string; readonly message: string; readonly content: Content | undefined }[] {
    return RESOURCE_TYPES.flatMap((t) => {
      const { nack } = this.#server.status(t.url);
      return nack === undefined ? [] : [{ type: t.shortName, message: nack.message, content: this.#stages.content(t.url) }];
    });
  }

  /** Secrets that it asks for and is not given. */
  withheld(): readonly string[] {
    return withheldNames(this.#node, this.#server.subscribedNames(SECRET_TYPE.url));
  }

  /** A refusal ends the stream. */
  received(bytes: Uint8Array): Result<void, StreamRefusal> {
    if (bytes.length > XDS_REQUEST_BYTES_MAX) return refuse(8, `a discovery request of ${bytes.length} bytes`);
    let request: Request;
    try {
      request = this.#server.read(bytes);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      return refuse(3, `malformed discovery request: ${error.message}`);
    }
    if (request.type_url === HEALTH_TYPE_URL) {
      // Before its node is known nobody can tell whose health it is: Istio too lets it pass.
      if (this.#node) this.#options.health(request.error_detail === undefined, request.error_detail?.message ?? '');
      return ok(undefined);
    }
    const typed = this.#typed(request);
    if (!typed.ok) return typed;
    if (!this.#node) {
      const opened = this.#open(request, bytes.length);
      if (!opened.ok) return opened;
    }
    this.#take(typed.value);
    const held = this.#server.subscribedNames(typed.value.type_url ?? '');
    const named = this.#server.askedNames?.(typed.value.type_url ?? '') ?? held;
    if (named !== undefined && named !== '*' && named.size > SUBSCRIPTIONS_MAX) return refuse(8, TOO_MANY);
    if (this.#server.heldBytes > STREAM_HELD_BYTES_MAX) return refuse(8, 'names and versions of more bytes than one stream may keep here');
    return ok(undefined);
  }

  /** The client takes bytes again. */
  drained(): void {
    if (!this.#waits || this.#closed) return;
    this.#due();
  }

  /** `madeAtMs`: since when it could have been had. */
  retarget(target: ProxyResources, madeAtMs: number): void {
    if (this.#closed) return;
    this.#targetMadeAtMs = madeAtMs > this.connectedAtMs ? madeAtMs : undefined;
    this.#stages.aim(target);
    this.#settle();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #typed(request: Request): Result<Request, StreamRefusal> {
    const { onlyType } = this.#options.protocol;
    if (this.#server.names(request) > SUBSCRIPTIONS_MAX) return refuse(8, TOO_MANY);
    const url = request.type_url ?? '';
    this.#urls.add(url);
    if (this.#urls.size > STREAM_TYPES_MAX) return refuse(8, `more than ${STREAM_TYPES_MAX} resource types`);
    if (onlyType === undefined) return url === '' ? refuse(3, 'type_url is required on an aggregated stream') : ok(request);
    if (url !== '' && url !== onlyType) return refuse(3, `this stream serves ${onlyType}, not ${url}`);
    return ok({ ...request, type_url: onlyType });
  }

  #open(request: Request, bytes: number): Result<void, StreamRefusal> {
    if (!request.node) return refuse(3, 'the first request of a stream must carry its node');
    // Names and versions may take the rest of it.
    if (bytes > NODE_BYTES_MAX && encode('envoy.config.core.v3.Node', request.node).length > NODE_BYTES_MAX)
      return refuse(8, `a node of more than ${NODE_BYTES_MAX} bytes`);
    const admitted = this.#options.admit(request.node);
    if (!admitted.ok) return admitted;
    this.#node = {
      ...admitted.value,
      onDemand: admitted.value.onDemand === true && asksByName(this.#options.protocol),
      secretsUnanswered: !admitted.value.proven && !this.#options.protocol.delta,
    };
    this.#userAgent = request.node.user_agent_name ?? '';
    this.#options.opened(this);
    return ok(undefined);
  }

  #take(request: Request): void {
    const outcome = this.#server.take(withShortText(request));
    if (outcome.kind === 'ack' || outcome.kind === 'nack') {
      this.#options.answered(this, outcome.kind, outcome.typeUrl, outcome.message ?? '');
    }
    if (outcome.typeUrl === SECRET_TYPE.url && !this.#withheldTold) this.#tellWithheld();
    this.#settle();
  }

  #tellWithheld(): void {
    const names = this.withheld();
    if (names.length === 0) return;
    this.#withheldTold = true;
    this.#options.withheld(this, names);
  }

  /** What was sent may be what a later stage waited for: a second look costs little and saves a round. */
  #settle(): void {
    for (let round = 0; round < 2 && this.#options.writable(); round++) {
      this.#stages.advance(this.#options.now());
      this.#server.refresh();
    }
    if (this.#targetMadeAtMs !== undefined && this.#stages.converged) {
      this.#options.converged(this, this.#targetMadeAtMs);
      this.#targetMadeAtMs = undefined;
    }
    this.#waits = !this.#options.writable();
    clearTimeout(this.#timer);
    const at = this.#stages.deadlineMs;
    if (at === undefined) return;
    this.#timer = setTimeout(() => this.#due(), Math.max(0, at - this.#options.now()));
    this.#timer.unref();
  }

  #due(): void {
    if (this.#closed) return;
    try {
      this.#settle();
    } catch (error) {
      this.#options.failed(this, error);
    }
  }
}

/** Only such a stream can ask for single virtual hosts, and for clusters beside all others. */
const asksByName = ({ delta, onlyType }: StreamProtocol): boolean => delta && onlyType === undefined;

const refuse = (code: StreamRefusal['code'], message: string): { readonly ok: false; readonly error: StreamRefusal } => ({
  ok: false,
  error: { code, message },
});

/** What a peer says of a refusal is kept: not more of it than a person reads. */
const withShortText = (request: Request): Request => {
  const { error_detail: detail } = request;
  if ((detail?.message?.length ?? 0) <= NACK_TEXT_CHARS_MAX) return request;
  return { ...request, error_detail: { ...detail, message: detail?.message?.slice(0, NACK_TEXT_CHARS_MAX) } };
};

type Contents = (typeUrl: string) => Content | undefined;

const sotwMachine = ({ send, writable }: AdsConnectionOptions, content: Contents): Machine => {
  const server = new SotwServer({ send: (bytes, typeUrl) => send([bytes], typeUrl), content, writable, controlPlane: CONTROL_PLANE });
  return {
    read: (bytes) => decode('envoy.service.discovery.v3.DiscoveryRequest', bytes),
    names: (request: DiscoveryRequest) => request.resource_names?.length ?? 0,
    take: (request) => server.request(request),
    subscribedNames: (url) => server.subscribedNames(url),
    status: (url) => server.status(url),
    get heldBytes() {
      return server.heldBytes;
    },
    refresh: () => server.refresh(),
  };
};

const deltaMachine = ({ send, shared, requests, writable }: AdsConnectionOptions, content: Contents): Machine => {
  const server = new DeltaServer({ send, content, shared, writable, controlPlane: CONTROL_PLANE });
  return {
    read: (bytes) => requests.read(bytes),
    names: (request: DeltaDiscoveryRequest) =>
      (request.resource_names_subscribe?.length ?? 0) + Object.keys(request.initial_resource_versions ?? {}).length,
    take: (request) => server.request(request),
    askedNames: (url) => server.askedNames(url),
    subscribedNames: (url) => server.subscribedNames(url),
    status: (url) => server.status(url),
    get heldBytes() {
      return server.heldBytes;
    },
    refresh: () => server.refresh(),
  };
};
