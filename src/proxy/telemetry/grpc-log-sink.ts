// Where entries for Envoy's access log service go: collected in one buffer, sent as one message of a stream when it holds enough or has
// waited long enough. A service that does not keep up, refuses or is gone costs entries, never memory without bound and never a wait:
// what finds no room is counted, and so is what was under way when a stream broke. Places with the same configuration share one sink.
import { ProtoBuffer } from '../../plan/proto-buffer.ts';
import type { GrpcStatus } from '../../wire/grpc-frames.ts';
import { GrpcStream, type GrpcStreamOwner } from '../export/grpc-stream.ts';
import type { GrpcServicePlan } from '../grpc-side-call.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import { WheelTimer } from '../timer-wheel.ts';

const METHOD = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
/** What waits while there is no stream, beside what a message holds anyway; of one sidecar. */
const HELD_BYTES = 256 * 1024;
const HELD_BYTES_MAX = 1024 * 1024;
const FIRST_BYTES = 4096;
/** A buffer that had to grow beyond this is not kept. */
const KEPT_BYTES_MAX = 64 * 1024;
/** Without entries for so long, stream and buffer are given up. */
const IDLE_MS = 300_000;
/** A service that stays away is told of so often. */
const WARN_EVERY_MS = 60_000;

const FLUSH = 0;
const IDLE = 1;

export interface GrpcLogPlan {
  readonly kind: 'http' | 'tcp';
  readonly service: GrpcServicePlan;
  readonly flushMs: number;
  /** A message is sent when it has so much; 0: every entry at once. */
  readonly bufferBytes: number;
  /** Of the counters, with its dot. */
  readonly statPrefix: string;
  /** The service hears it first. */
  readonly identifier: Uint8Array;
}

export class GrpcLogSink implements GrpcStreamOwner {
  readonly #env: ProxyEnvironment;
  readonly #plan: GrpcLogPlan;
  readonly #written: Stat;
  readonly #dropped: Stat;
  readonly #flushed: Stat;
  readonly #flushFailed: Stat;
  readonly #flushTimer = new WheelTimer(this, FLUSH);
  readonly #idleTimer = new WheelTimer(this, IDLE);
  readonly #heldMax: number;
  readonly #messageBytes: number;
  #entries: ProtoBuffer | undefined;
  #count = 0;
  #stream: GrpcStream | undefined;
  #identified = false;
  /** Entries of the last message. */
  #sent = 0;
  #silentUntil = 0;
  #closed = false;

  constructor(env: ProxyEnvironment, plan: GrpcLogPlan) {
    this.#env = env;
    this.#plan = plan;
    this.#heldMax = Math.ceil(Math.min(HELD_BYTES_MAX, Math.max(HELD_BYTES, 2 * plan.bufferBytes)) / env.workers);
    this.#messageBytes = Math.min(plan.bufferBytes, this.#heldMax);
    const counter = (name: string): Stat => env.stats.counter(`${plan.statPrefix}${name}`);
    this.#written = counter('logs_written');
    this.#dropped = counter('logs_dropped');
    this.#flushed = counter('grpc_entries_flushed');
    this.#flushFailed = counter('grpc_entries_flush_failed');
  }

  /** Where the next entry goes, to be followed by `lineWritten`; undefined: there is no room, and the entry is counted as dropped. */
  line(): ProtoBuffer | undefined {
    if (this.#closed || (this.#entries !== undefined && this.#entries.length >= this.#heldMax)) {
      this.#dropped.value++;
      return undefined;
    }
    this.#entries ??= new ProtoBuffer(FIRST_BYTES);
    return this.#entries;
  }

  lineWritten(): void {
    this.#written.value++;
    this.#count++;
    if (this.#entries !== undefined && this.#entries.length >= this.#messageBytes) this.#flush();
    else if (!this.#flushTimer.armed) this.#env.wheel.arm(this.#flushTimer, this.#plan.flushMs);
  }

  /** Sends what it can still send, then calls back. Nothing is taken any more. */
  close(done: () => void): void {
    if (this.#closed) {
      done();
      return;
    }
    this.#flush();
    this.#closed = true;
    this.#dropped.value += this.#count;
    this.#count = 0;
    this.#entries = undefined;
    this.#env.wheel.drop(this.#flushTimer);
    this.#env.wheel.drop(this.#idleTimer);
    if (this.#stream === undefined) done();
    else this.#stream.close(done);
  }

  onTimer(kind: number): void {
    if (kind === FLUSH) this.#flush();
    else if (this.#count === 0) {
      this.#stream?.close();
      this.#stream = undefined;
      this.#entries = undefined;
    }
  }

  #flush(): void {
    this.#env.wheel.disarm(this.#flushTimer);
    const entries = this.#entries;
    if (this.#count === 0 || entries === undefined) return;
    this.#stream ??= new GrpcStream(this.#env, this.#plan.service, METHOD, this);
    if (!this.#stream.writable) {
      this.#stream.want();
      return;
    }
    this.#stream.send(this.#head(entries.length), entries.bytes.subarray(0, entries.length));
    this.#identified = true;
    this.#sent = this.#count;
    this.#flushed.value += this.#count;
    this.#count = 0;
    entries.length = 0;
    if (entries.bytes.length > KEPT_BYTES_MAX) this.#entries = undefined;
    this.#env.wheel.arm(this.#idleTimer, IDLE_MS);
  }

  /** Of a message with so many bytes of entries: identifier, where it is the stream's first, and what frames the entries. */
  #head(bytes: number): Uint8Array {
    const head = new ProtoBuffer(16 + (this.#identified ? 0 : this.#plan.identifier.length));
    if (!this.#identified) head.blob(1, this.#plan.identifier);
    head.frame(this.#plan.kind === 'http' ? 2 : 3, bytes);
    return head.bytes.subarray(0, head.length);
  }

  // --- GrpcStreamOwner ---

  streamOpened(): void {
    this.#identified = false;
    this.#flush();
  }

  streamDrained(): void {
    this.#flush();
  }

  streamEnded(status: GrpcStatus, lost: boolean): void {
    if (lost) {
      this.#flushFailed.value += this.#sent;
      this.#dropped.value += this.#sent;
    }
    const now = this.#env.wheel.now();
    if (status.code !== 0 && now >= this.#silentUntil) {
      this.#silentUntil = now + WARN_EVERY_MS;
      const { cluster } = this.#plan.service;
      this.#env.log.warning('access logs are not taken', { cluster, code: status.code, reason: status.message });
    }
    if (this.#count > 0) this.#stream?.want();
  }
}
