// Where log records for an OpenTelemetry collector go: collected in one buffer, sent as one request when it holds enough or has waited
// long enough, tried again a few times. What the collector has not taken in the end, or finds no room here, is counted as dropped; what it
// says it did not take of a request that it took, as rejected.
import { ProtoBuffer } from '../../plan/proto-buffer.ts';
import { BatchQueue } from '../export/batch-queue.ts';
import type { Exporter } from '../export/exporters.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import { WheelTimer } from '../timer-wheel.ts';
import type { LogExport } from './log-exports.ts';

const FIRST_BYTES = 4096;
const KEPT_BYTES_MAX = 64 * 1024;
/** What waits behind a collector that does not keep up, of one sidecar. */
const QUEUE_BYTES_MAX = 1024 * 1024;
const QUEUE_REQUESTS_MAX = 256;
/** A request is no more than this share of it. */
const REQUEST_SHARE = 2;
const ATTEMPTS = 3;
const CLOSE_MS = 2000;

export interface OtelLogPlan {
  readonly flushMs: number;
  /** A request is made when there is so much; 0: of every record at once. */
  readonly bufferBytes: number;
  /** Of the counters, with its dot. */
  readonly statPrefix: string;
  /** Who logs: field `resource` of ResourceLogs, encoded. */
  readonly resource: Uint8Array;
}

interface Request {
  readonly body: Buffer;
  readonly records: number;
  attempts: number;
}

export class OtelLogSink implements LogExport {
  readonly #env: ProxyEnvironment;
  readonly #plan: OtelLogPlan;
  readonly #exporter: Exporter;
  readonly #written: Stat;
  readonly #dropped: Stat;
  readonly #rejected: Stat;
  readonly #queueBytesMax: number;
  readonly #requestBytes: number;
  readonly #timer = new WheelTimer(this, 0);
  #queue: BatchQueue<Request> | undefined;
  #records: ProtoBuffer | undefined;
  #count = 0;
  /** In the queue. */
  #waiting = 0;
  #closed = false;

  constructor(env: ProxyEnvironment, plan: OtelLogPlan, exporter: Exporter) {
    this.#env = env;
    this.#plan = plan;
    this.#exporter = exporter;
    this.#written = env.stats.counter(`${plan.statPrefix}logs_written`);
    this.#dropped = env.stats.counter(`${plan.statPrefix}logs_dropped`);
    this.#rejected = env.stats.counter(`${plan.statPrefix}logs_rejected`);
    this.#queueBytesMax = Math.ceil(QUEUE_BYTES_MAX / env.workers);
    this.#requestBytes = Math.min(plan.bufferBytes, Math.floor(this.#queueBytesMax / REQUEST_SHARE));
  }

  /** Where the next record goes, to be followed by `lineWritten`; undefined: there is no room, and the record is counted as dropped. */
  line(): ProtoBuffer | undefined {
    if (this.#closed) {
      this.#dropped.value++;
      return undefined;
    }
    this.#records ??= new ProtoBuffer(FIRST_BYTES);
    return this.#records;
  }

  lineWritten(): void {
    this.#count++;
    if (this.#records !== undefined && this.#records.length >= this.#requestBytes) this.#flush();
    else if (!this.#timer.armed) this.#env.wheel.arm(this.#timer, this.#plan.flushMs);
  }

  close(done: () => void): void {
    if (this.#closed) {
      done();
      return;
    }
    this.#flush();
    this.#closed = true;
    this.#env.wheel.drop(this.#timer);
    const finish = (): void => {
      this.#dropped.value += this.#waiting;
      this.#waiting = 0;
      done();
    };
    if (this.#queue === undefined) finish();
    else void this.#queue.close(CLOSE_MS).then(finish);
  }

  onTimer(): void {
    this.#flush();
  }

  #flush(): void {
    this.#env.wheel.disarm(this.#timer);
    const records = this.#records;
    if (this.#count === 0 || records === undefined) return;
    const request = { body: this.#request(records), records: this.#count, attempts: 0 };
    this.#count = 0;
    records.length = 0;
    if (records.bytes.length > KEPT_BYTES_MAX) this.#records = undefined;
    this.#waiting += request.records;
    this.#queue ??= this.#makeQueue();
    if (!this.#queue.push(request, request.body.length)) this.#gone(request);
  }

  /** ExportLogsServiceRequest. */
  #request(records: ProtoBuffer): Buffer {
    const { resource } = this.#plan;
    const out = new ProtoBuffer(records.length + resource.length + 32);
    const logs = out.begin(1);
    out.literal(resource);
    out.blob(2, records.bytes.subarray(0, records.length));
    out.end(logs);
    return out.bytes.subarray(0, out.length);
  }

  #gone({ records }: Request): void {
    this.#waiting -= records;
    this.#dropped.value += records;
  }

  #makeQueue(): BatchQueue<Request> {
    const { wheel, random, workers } = this.#env;
    return new BatchQueue<Request>({
      wheel,
      random,
      // Of requests; records are counted here.
      counts: { sent: { value: 0 }, dropped: { value: 0 }, failed: { value: 0 }, rejected: { value: 0 } },
      itemsMax: Math.ceil(QUEUE_REQUESTS_MAX / workers),
      bytesMax: this.#queueBytesMax,
      batchItems: 1,
      batchBytes: Number.POSITIVE_INFINITY,
      flushMs: this.#plan.flushMs,
      attempts: ATTEMPTS,
      send: ([request], done) => {
        if (request === undefined) return undefined;
        request.attempts++;
        return this.#exporter.send(request.body, (ok, again = true, rejected = 0) => {
          if (ok) {
            const refused = Math.min(rejected, request.records);
            this.#waiting -= request.records;
            this.#written.value += request.records - refused;
            this.#rejected.value += refused;
          } else if (!again || this.#closed || request.attempts >= ATTEMPTS) this.#gone(request);
          done(ok, again);
        });
      },
    });
  }
}
