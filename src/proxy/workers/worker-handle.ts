// The main thread's end of one further worker: starts the thread, sends it what is to be done, and keeps what it says about
// itself. A worker that ends before it was told to is reported once; it is never started again here.

import { Worker } from 'node:worker_threads';
import type { Log, LogLevel } from '../../base/log.ts';
import type { Bootstrap } from '../../xds/gen/types.ts';
import type { Tapped } from '../tap/sampler.ts';
import type { SummaryReport } from '../telemetry/summary-link.ts';
import type { FromWorker, GivenSocket, ToWorker, WorkerState } from './messages.ts';
import type { PlaneSettings } from './plane.ts';
import type { Totals } from './totals.ts';

export interface WorkerStart {
  readonly settings: PlaneSettings;
  readonly memory: SharedArrayBuffer;
  readonly clockOrigin: number;
  readonly logLevel: LogLevel;
  /** Runtime keys that limit the connections of listeners. */
  readonly limits: Pick<Bootstrap, 'layered_runtime'>;
}

export interface WorkerEvents {
  /** What it says about itself has changed. */
  changed(): void;
  sockets(open: readonly GivenSocket[]): void;
  /** To be heard by all other workers. */
  signal(key: string): void;
  /** Somebody is shown an exchange of it. */
  readonly tapped: Tapped;
  /** For the control plane. */
  summary(report: SummaryReport): void;
  /** It is gone, and nobody has asked it to go. */
  died(reason: string): void;
}

/** Asked for its counts, it answers within this time or is in trouble. */
const ANSWER_WITHIN_MS = 2_000;

export class WorkerHandle {
  readonly #number: number;
  readonly #thread: Worker;
  readonly #events: WorkerEvents;
  readonly #log: Log;
  readonly #questions = new Map<number, (totals: Totals) => void>();
  readonly #ended = Promise.withResolvers<void>();
  #asked = 0;
  #closing = false;
  #state: WorkerState = {
    applied: -1,
    ready: false,
    bindFailures: [],
    demanded: { host: [], cluster: [], listener: [] },
  };
  /** What it has served, as it said last. */
  records = 0;

  constructor(number: number, start: WorkerStart, log: Log, events: WorkerEvents) {
    this.#number = number;
    this.#log = log;
    this.#events = events;
    this.#thread = new Worker(entry(), { workerData: start, name: `worker ${number}` });
    this.#thread.on('message', (message: FromWorker) => this.#heard(message));
    this.#thread.on('error', (problem: unknown) =>
      this.#died(problem instanceof Error ? (problem.stack ?? problem.message) : String(problem)),
    );
    this.#thread.on('exit', (code) => {
      this.#ended.resolve();
      this.#died(`it ended with ${code}`);
    });
  }

  get state(): WorkerState {
    return this.#state;
  }

  send(message: ToWorker): void {
    if (!this.#closing) this.#thread.postMessage(message);
  }

  /** Rejects when it does not answer in time. */
  count(): Promise<Totals> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#questions.delete(id);
        reject(new Error(`worker ${this.#number} does not answer`));
      }, ANSWER_WITHIN_MS);
      this.#questions.set(id, (totals) => {
        clearTimeout(timer);
        resolve(totals);
      });
      this.send({ kind: 'count', id });
    });
  }

  /** Drops its connections, writes its logs and ends the thread. */
  async close(): Promise<void> {
    this.send({ kind: 'close' });
    this.#closing = true;
    await this.#ended.promise;
  }

  #heard(message: FromWorker): void {
    switch (message.kind) {
      case 'state':
        this.#state = message.state;
        this.#events.changed();
        break;
      case 'sockets':
        this.#events.sockets(message.open);
        break;
      case 'signal':
        this.#events.signal(message.key);
        break;
      case 'totals':
        this.#questions.get(message.id)?.(message.totals);
        this.#questions.delete(message.id);
        break;
      case 'records':
        this.records = message.records;
        break;
      case 'tapped':
        this.#events.tapped(message.id, message.record, message.skipped);
        break;
      case 'summary':
        this.#events.summary(message.report);
        break;
      case 'log':
        this.#log.scope(message.scope)[message.severity](message.message, { ...message.fields, worker: this.#number });
        break;
      case 'closed':
        void this.#thread.terminate();
        break;
    }
  }

  #died(reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#events.died(`worker ${this.#number}: ${reason}`);
  }
}

/** Beside this file, as source or bundled. */
const entry = (): URL => new URL(import.meta.url.endsWith('.ts') ? './worker-thread.ts' : './worker-thread.js', import.meta.url);
