// POST /tap: opens taps of this sidecar over all its workers, and answers each with lines of JSON until it has had its number, its time is
// over, or its reader leaves. Lines: `{"tap":{"open":true,…}}`, `{"request":…}`, `{"connection":…}` where TCP was asked for,
// `{"tap":{"shown":n,"skipped":n,"dropped":n}}` now and then, and at last the same with `ended`. While nobody taps there is no sampler
// anywhere. Loaded by the first tap.
import type { Log } from '../../base/log.ts';
import type { AdminRequest, AdminResponse, AnswerReader } from '../admin/admin-context.ts';
import { text } from '../admin/admin-context.ts';
import type { Clock } from '../clock.ts';
import { TAPS_MAX } from '../limits.ts';
import type { Peer } from '../telemetry/peer-metadata.ts';
import { type OpenTap, Sampler, type TapShown } from './sampler.ts';
import { parseTapRequest, type TapRequest } from './tap-request.ts';

export interface TapDeskOptions {
  readonly own: Peer;
  /** Shown in every record: the node's id. */
  readonly proxy: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Puts the sampler where exchanges end in this thread, or takes it away. */
  readonly attach: (sampler: Sampler | undefined) => void;
  /** Tells all other workers. */
  readonly tell: (taps: readonly OpenTap[]) => void;
}

const TELL_MS = 1000;
/** A line at least so often: a reader that is gone is noticed. */
const QUIET_TICKS_MAX = 10;

export class TapDesk {
  readonly #options: TapDeskOptions;
  readonly #sampler: Sampler;
  readonly #open = new Map<number, Reading>();
  #ids = 0;

  constructor(options: TapDeskOptions) {
    this.#options = options;
    this.#sampler = new Sampler(
      options.own,
      () => options.clock.monotonicMs(),
      (id, record, skipped) => this.tapped(id, record, skipped),
    );
  }

  answer({ body }: AdminRequest): AdminResponse {
    const asked = parseTapRequest(body);
    if (!asked.ok) return text(`${asked.error}\n`, 400);
    if (this.#open.size >= TAPS_MAX) return text(`${TAPS_MAX} taps are open already\n`, 429);
    return {
      status: 200,
      headers: { 'content-type': 'application/x-ndjson' },
      body: '',
      stream: (reader) => this.#begin(asked.value, reader),
    };
  }

  /** By this thread's sampler or another worker's. */
  tapped(id: number, record: TapShown | undefined, skipped: number): void {
    const reading = this.#open.get(id);
    if (reading === undefined) return;
    reading.skipped += skipped;
    if (record !== undefined) reading.show(record);
  }

  close(): void {
    for (const reading of this.#open.values()) reading.end('the proxy ends');
  }

  #begin(request: TapRequest, to: AnswerReader): () => void {
    const id = ++this.#ids;
    if (this.#open.size >= TAPS_MAX) {
      to.send(`${JSON.stringify({ tap: { ended: `${TAPS_MAX} taps are open already` } })}\n`);
      to.end();
      return () => undefined;
    }
    const { clock, proxy, log } = this.#options;
    const reading = new Reading({ request, to, proxy, nowMs: () => clock.monotonicMs(), ended: () => this.#forget(id) });
    this.#open.set(id, reading);
    log.info('a tap begins', { tap: id, seconds: request.seconds, rate: request.maxPerSecond });
    this.#share();
    const tick = (): void => {
      if (!this.#open.has(id)) return;
      this.#sampler.tellSkipped();
      reading.tick();
      clock.after(TELL_MS, tick);
    };
    clock.after(TELL_MS, tick);
    return () => reading.left();
  }

  #forget(id: number): void {
    this.#sampler.tellSkipped();
    const reading = this.#open.get(id);
    this.#open.delete(id);
    this.#share();
    this.#options.log.info('a tap has ended', { tap: id, shown: reading?.shown ?? 0, skipped: reading?.skipped ?? 0 });
  }

  #share(): void {
    const taps = [...this.#open].map(([id, { request }]) => ({ id, request }));
    this.#sampler.set(taps);
    this.#options.attach(taps.length === 0 ? undefined : this.#sampler);
    this.#options.tell(taps);
  }
}

interface ReadingOptions {
  readonly request: TapRequest;
  readonly to: AnswerReader;
  readonly proxy: string;
  readonly nowMs: () => number;
  readonly ended: () => void;
}

/** Who reads one tap. */
class Reading {
  readonly request: TapRequest;
  readonly #to: AnswerReader;
  readonly #options: ReadingOptions;
  readonly #untilMs: number;
  shown = 0;
  /** Matched, and over the rate. */
  skipped = 0;
  /** The reader was too slow for them. */
  #dropped = 0;
  #told = '';
  #quiet = 0;
  #secondMs = 0;
  #inSecond = 0;
  #over = false;

  constructor(options: ReadingOptions) {
    this.request = options.request;
    this.#to = options.to;
    this.#options = options;
    this.#untilMs = options.nowMs() + options.request.seconds * 1000;
    const { maxPerSecond, seconds, count } = options.request;
    this.#line({ tap: { open: true, proxy: options.proxy, maxPerSecond, seconds, count } });
  }

  show(record: TapShown): void {
    if (this.#over) return;
    // Workers know their own rate alone.
    const now = this.#options.nowMs();
    if (now - this.#secondMs >= 1000) {
      this.#secondMs = now;
      this.#inSecond = 0;
    }
    if (++this.#inSecond > this.request.maxPerSecond * BURST) {
      this.skipped++;
      return;
    }
    const shown = { proxy: this.#options.proxy, ...record };
    if (!this.#line('event' in record ? { connection: shown } : { request: shown })) {
      this.#dropped++;
      return;
    }
    this.shown++;
    if (this.request.count > 0 && this.shown >= this.request.count) this.end('count');
  }

  tick(): void {
    if (this.#over) return;
    if (this.#options.nowMs() >= this.#untilMs) {
      this.end('time');
      return;
    }
    const now = JSON.stringify(this.#counts());
    if (now === this.#told && ++this.#quiet < QUIET_TICKS_MAX) return;
    this.#quiet = 0;
    this.#told = now;
    this.#line({ tap: this.#counts() });
  }

  end(why: string): void {
    if (this.#over) return;
    this.#over = true;
    // Tells first what the samplers have not told yet.
    this.#options.ended();
    this.#line({ tap: { ...this.#counts(), ended: why } });
    this.#to.end();
  }

  left(): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.ended();
  }

  #counts() {
    return { shown: this.shown, skipped: this.skipped, dropped: this.#dropped };
  }

  #line(value: object): boolean {
    return this.#to.send(`${JSON.stringify(value)}\n`);
  }
}

/** A full bucket and what fills it within a second. */
const BURST = 2;
