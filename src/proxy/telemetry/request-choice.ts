// The requests that a sidecar tells of one by one: so many a report, failed ones first, then slow ones, then those whose id hashes lowest, so
// that all sidecars of a busy mesh tell of the same. Slots are used again; what was not chosen costs a comparison. Told as the access log
// service has it, with what else is known of both sides as custom tags.
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { encode } from '../../xds/codec.ts';
import type { Node } from '../../xds/gen/types.ts';
import { Writer } from '../../xds/wire-format.ts';
import type { LabelPairs } from './metrics-message.ts';

/** Of one worker, a report. */
const SLOTS = 100;
const SLOW_MS = 1000;
const PATH_CHARS_MAX = 512;

/** What they are told apart from the log of everything by. */
const LOG_NAME = 'skein-requests';

interface Slot {
  priority: number;
  startMs: number;
  durationMs: number;
  method: string;
  path: string;
  authority: string;
  status: number;
  grpcStatus: number;
  flags: readonly string[];
  details: string;
  bytesIn: number;
  bytesOut: number;
  route: string;
  cluster: string;
  upstream: string;
  downstream: string;
  requestId: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  attempts: number;
  labels: LabelPairs;
}

const emptySlot = (): Slot => ({
  priority: 0,
  startMs: 0,
  durationMs: 0,
  method: '',
  path: '',
  authority: '',
  status: 0,
  grpcStatus: -1,
  flags: [],
  details: '',
  bytesIn: 0,
  bytesOut: 0,
  route: '',
  cluster: '',
  upstream: '',
  downstream: '',
  requestId: '',
  traceId: '',
  spanId: '',
  parentSpanId: '',
  attempts: 0,
  labels: [],
});

export class RequestChoice {
  readonly #slots: Slot[] = [];
  #used = 0;
  /** The lowest of a full choice. */
  #least = 0;
  /** Since the process began. */
  passedOver = 0;

  /** `grpcStatus`: -1 for another request. The row has both sides' labels. */
  offer(
    info: StreamInfo,
    request: HeaderBlock | undefined,
    durationMs: number,
    grpcStatus: number,
    row: { readonly labels: LabelPairs },
  ): void {
    const requestId = request?.get('x-request-id') ?? '';
    const failed = info.responseCode === 0 || info.responseCode >= 400 || grpcStatus > 0;
    const priority = (failed ? 3 : durationMs >= SLOW_MS ? 2 : 1) - share(info.traceId || requestId);
    let at = this.#used;
    if (at >= SLOTS) {
      this.passedOver++;
      if (priority <= this.#least) return;
      at = this.#leastSlot();
    } else this.#used++;
    const slot = this.#slots[at] ?? emptySlot();
    this.#slots[at] = slot;
    fill(slot, info, request, durationMs, grpcStatus, requestId, row.labels);
    slot.priority = priority;
    if (this.#used >= SLOTS) this.#least = this.#slots[this.#leastSlot()]?.priority ?? 0;
  }

  /** What was chosen since the last report, as a StreamAccessLogsMessage; undefined when that is nothing. */
  report(): Uint8Array | undefined {
    if (this.#used === 0) return undefined;
    const w = new Writer();
    w.tag(2, LENGTH);
    w.nested(() => {
      for (const slot of this.#slots.slice(0, this.#used)) writeEntry(w, slot);
    });
    this.#used = 0;
    return w.finish();
  }

  #leastSlot(): number {
    let found = 0;
    for (let i = 1; i < SLOTS; i++) if ((this.#slots[i]?.priority ?? 0) < (this.#slots[found]?.priority ?? 0)) found = i;
    return found;
  }
}

/** [0, 1), the same for the same text everywhere: of its last characters, which are its random ones. */
const share = (text: string): number => {
  let hash = 2166136261;
  for (let i = Math.max(0, text.length - 12); i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) / 2 ** 32;
};

const fill = (
  slot: Slot,
  info: StreamInfo,
  request: HeaderBlock | undefined,
  durationMs: number,
  grpcStatus: number,
  requestId: string,
  labels: LabelPairs,
): void => {
  const path = request?.get('x-envoy-original-path') ?? info.path;
  const query = path.indexOf('?');
  slot.startMs = info.startTime;
  slot.durationMs = durationMs;
  slot.method = info.method;
  slot.path = path.slice(0, Math.min(PATH_CHARS_MAX, query < 0 ? path.length : query));
  slot.authority = info.authority;
  slot.status = info.responseCode;
  slot.grpcStatus = grpcStatus;
  slot.flags = info.hasAnyFlag() ? info.flagsShort().split(',') : NO_FLAGS;
  slot.details = info.responseCodeDetails;
  slot.bytesIn = info.bytesReceived;
  slot.bytesOut = info.bytesSent;
  slot.route = info.routeName;
  slot.cluster = info.upstreamClusterRaw;
  slot.upstream = info.upstreamHost;
  slot.downstream = info.downstreamRemoteAddress;
  slot.requestId = requestId;
  slot.attempts = info.upstreamRequestAttemptCount;
  slot.labels = labels;
  traceOf(slot, info, request);
};

const NO_FLAGS: readonly string[] = [];

/** Of its own span where it traces; else the span of the headers is the caller's. */
const traceOf = (slot: Slot, info: StreamInfo, request: HeaderBlock | undefined): void => {
  const w3c = /^[\da-f]{2}-([\da-f]{32})-([\da-f]{16})-/.exec(request?.get('traceparent') ?? '');
  const b3 = w3c ?? /^([\da-f]{16,32})-([\da-f]{16})/.exec(request?.get('b3') ?? '');
  slot.traceId = info.traceId || (b3?.[1] ?? request?.get('x-b3-traceid') ?? '');
  slot.spanId = info.spanId;
  const said = b3?.[2] ?? request?.get('x-b3-spanid') ?? '';
  slot.parentSpanId = said === info.spanId ? '' : said;
};

const LENGTH = 2;
const VARINT = 0;
const METHODS = ['', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
/** Field numbers of Envoy's ResponseFlags. */
const FLAG_FIELDS: Readonly<Record<string, number>> = {
  ...{ LH: 1, UH: 2, UT: 3, LR: 4, UR: 5, UF: 6, UC: 7, UO: 8, NR: 9, DI: 10, FI: 11, RL: 12, RLSE: 14, DC: 15, URX: 16, SI: 17, IH: 18 },
  ...{ DPE: 19, UMSDR: 20, RFCF: 21, NFCF: 22, DT: 23, UPE: 24, NC: 25, OM: 26, DF: 27, DR: 28 },
};

export const text = (w: Writer, field: number, value: string): void => {
  if (value === '') return;
  w.tag(field, LENGTH);
  w.string(value);
};

export const integer = (w: Writer, field: number, value: number): void => {
  if (value === 0) return;
  w.tag(field, VARINT);
  w.varint(value);
};

export const message = (w: Writer, field: number, write: () => void): void => {
  w.tag(field, LENGTH);
  w.nested(write);
};

/** A Timestamp or a Duration. */
export const time = (w: Writer, field: number, ms: number): void =>
  message(w, field, () => {
    integer(w, 1, Math.floor(ms / 1000));
    integer(w, 2, Math.round((ms % 1000) * 1e6));
  });

export const address = (w: Writer, field: number, hostPort: string): void => {
  const colon = hostPort.lastIndexOf(':');
  if (colon <= 0) return;
  message(w, field, () =>
    message(w, 1, () => {
      text(w, 2, hostPort.slice(0, colon).replace(/^\[(.*)\]$/, '$1'));
      integer(w, 3, Number(hostPort.slice(colon + 1)) || 0);
    }),
  );
};

export const pair = (w: Writer, field: number, key: string, value: string): void => {
  if (value === '') return;
  message(w, field, () => {
    text(w, 1, key);
    text(w, 2, value);
  });
};

const writeEntry = (w: Writer, slot: Slot): void =>
  message(w, 1, () => {
    message(w, 1, () => writeCommon(w, slot));
    message(w, 3, () => {
      integer(w, 1, Math.max(0, METHODS.indexOf(slot.method)));
      text(w, 3, slot.authority);
      text(w, 5, slot.path);
      text(w, 9, slot.requestId);
      integer(w, 12, slot.bytesIn);
    });
    message(w, 4, () => {
      if (slot.status > 0) message(w, 1, () => integer(w, 1, slot.status));
      integer(w, 3, slot.bytesOut);
      if (slot.grpcStatus >= 0) pair(w, 5, 'grpc-status', String(slot.grpcStatus));
      text(w, 6, slot.details);
    });
  });

const writeCommon = (w: Writer, slot: Slot): void => {
  address(w, 2, slot.downstream);
  time(w, 5, slot.startMs);
  address(w, 13, slot.upstream);
  text(w, 15, slot.cluster);
  if (slot.flags.length > 0)
    message(w, 16, () => {
      for (const flag of slot.flags) {
        const field = FLAG_FIELDS[flag];
        if (field !== undefined) integer(w, field, 1);
        // Envoy's only reason.
        else if (flag === 'UAEX') message(w, 13, () => integer(w, 1, 1));
      }
    });
  text(w, 19, slot.route);
  for (const [name, value] of slot.labels) if (TAGS.has(name)) pair(w, 22, name, value);
  pair(w, 22, 'destination_version', slot.labels.find(([name]) => name === 'destination_canonical_revision')?.[1] ?? '');
  pair(w, 22, 'trace_id', slot.traceId);
  pair(w, 22, 'span_id', slot.spanId);
  pair(w, 22, 'parent_span_id', slot.parentSpanId);
  time(w, 23, slot.durationMs);
  integer(w, 24, slot.attempts);
};

const TAGS = new Set([
  ...['reporter', 'source_workload', 'source_workload_namespace', 'source_principal'],
  ...['destination_workload', 'destination_workload_namespace', 'destination_principal', 'destination_service'],
]);

/** A message that says who sends, which the first one of a stream must be. */
export const requestsIdentifier = (node: Node): Uint8Array => {
  const w = new Writer();
  message(w, 1, () => {
    w.tag(1, LENGTH);
    w.bytes(encode('envoy.config.core.v3.Node', node));
    text(w, 2, LOG_NAME);
  });
  return w.finish();
};
