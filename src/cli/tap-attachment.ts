// One sidecar's tap, held for as long as it was asked for: a sidecar that ends, is cut off or says nothing any more is waited for and tapped
// again by itself. Told are the loss, the return, and for how long nothing was seen; nothing is lost without a word.
import { AdminCallError, type AdminClient, NoControlPlaneError } from './admin-client.ts';
import { sleep } from './live-screen.ts';
import type { ProxyEntry } from './proxy-status.ts';
import { type TapLine, TapLines, type TappedConnection, type TappedRequest } from './tap-lines.ts';

export interface AttachmentOptions {
  readonly admin: AdminClient;
  readonly proxy: ProxyEntry;
  /** What is asked of the sidecar, but for its time. */
  readonly request: object;
  /** When all is over. */
  readonly untilMs: number;
  /** A sidecar that is lost is waited for so long; 0: not at all. */
  readonly waitMs: number;
  readonly returns: TapReturns;
  readonly show: (shown: TappedRequest | TappedConnection) => void;
  readonly say: (who: string, what: string) => void;
  readonly signal: AbortSignal;
}

/** A sidecar has something to say every ten seconds. */
const SILENCE_MS = 30_000;
const LOOK_MS = 500;
/** Without a control plane nobody can tell whether anybody is back. */
const ALONE_MS = 10_000;

/** How a tap ended. */
type End = 'over' | { readonly lost: string; readonly forGood?: boolean };

export class TapAttachment {
  readonly #o: AttachmentOptions;
  readonly #who: string;
  readonly #path: string;
  #lostMs: number | undefined;
  #opened = false;
  #skippedBefore = 0;
  #skippedNow = 0;

  constructor(options: AttachmentOptions) {
    this.#o = options;
    const { name, namespace } = options.proxy;
    this.#who = `${name}.${namespace}`;
    this.#path = `/v1/proxies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}/admin/tap`;
  }

  /** Matched, and was not shown: over the rate, or its reader was too slow. */
  get skipped(): number {
    return this.#skippedBefore + this.#skippedNow;
  }

  /** False: the sidecar was lost. */
  async run(): Promise<boolean> {
    const { signal, waitMs, untilMs, say } = this.#o;
    for (;;) {
      const end = await this.#attach();
      if (end === 'over' || signal.aborted) return true;
      if (!this.#opened || waitMs === 0 || end.forGood === true || Date.now() >= untilMs) {
        say(this.#who, end.lost);
        return false;
      }
      if (this.#lostMs === undefined) {
        this.#lostMs = Date.now();
        say(this.#who, `${end.lost}; it is tapped again when it is back`);
      }
      const back = await this.#returned(Math.min(this.#lostMs + waitMs, untilMs));
      if (signal.aborted) return true;
      if (back !== '') {
        say(this.#who, back);
        return false;
      }
    }
  }

  async #attach(): Promise<End> {
    const { admin, request, untilMs, signal } = this.#o;
    const own = new AbortController();
    const silent = (): void => own.abort();
    let silence = setTimeout(silent, SILENCE_MS);
    let end: End = 'over';
    const lines = new TapLines((line) => {
      clearTimeout(silence);
      silence = setTimeout(silent, SILENCE_MS);
      end = this.#take(line) ?? end;
    });
    this.#skippedBefore += this.#skippedNow;
    this.#skippedNow = 0;
    const seconds = Math.max(1, Math.ceil((untilMs - Date.now()) / 1000));
    try {
      const both = AbortSignal.any([signal, own.signal]);
      await admin.stream('POST', this.#path, { ...request, seconds }, (text) => lines.receive(text), both);
      return own.signal.aborted ? { lost: `nothing was heard for ${SILENCE_MS / 1000} s` } : end;
    } catch (problem) {
      if (problem instanceof AdminCallError) return { lost: problem.message, forGood: problem.status < 500 && problem.status !== 404 };
      if (problem instanceof NoControlPlaneError && this.#opened) return { lost: 'the control plane has ended' };
      throw problem;
    } finally {
      clearTimeout(silence);
    }
  }

  #take(line: TapLine): End | undefined {
    const { show, say } = this.#o;
    if (!('tap' in line)) {
      show('request' in line ? line.request : line.connection);
      return undefined;
    }
    const { open = false, skipped = 0, dropped = 0, ended } = line.tap;
    if (open) {
      if (this.#lostMs !== undefined) {
        const awayMs = Date.now() - this.#lostMs;
        say(this.#who, `is tapped again; what passed it in ${Math.max(1, Math.round(awayMs / 1000))} s was not seen`);
      }
      this.#lostMs = undefined;
      this.#opened = true;
    }
    this.#skippedNow = skipped + dropped;
    if (ended === undefined || ended === 'count' || ended === 'time') return undefined;
    return ended === 'the proxy ends' ? { lost: 'the proxy has ended' } : { lost: ended, forGood: true };
  }

  /** '' when it is back, else why it is waited for no longer. */
  async #returned(untilMs: number): Promise<string> {
    const { returns, proxy, signal } = this.#o;
    let aloneMs: number | undefined;
    while (!signal.aborted) {
      await sleep(LOOK_MS, signal);
      const found = await returns.find(proxy);
      if (found === 'skein') return '';
      if (found === 'other') return 'is back with another proxy, which cannot be tapped';
      aloneMs = found === 'nobody to ask' ? (aloneMs ?? Date.now()) : undefined;
      if (aloneMs !== undefined && Date.now() - aloneMs > ALONE_MS) return 'no control plane is running: it is no longer tapped';
      if (Date.now() >= untilMs) return 'has not come back: it is no longer tapped';
    }
    return '';
  }
}

/** Who is connected, asked once for all that wait. */
export class TapReturns {
  readonly #admin: Pick<AdminClient, 'json'>;
  #atMs = 0;
  #asked: Promise<readonly ProxyEntry[] | undefined> = Promise.resolve(undefined);

  constructor(admin: Pick<AdminClient, 'json'>) {
    this.#admin = admin;
  }

  async find({ name, namespace }: ProxyEntry): Promise<'skein' | 'other' | 'away' | 'nobody to ask'> {
    if (Date.now() - this.#atMs >= LOOK_MS / 2) {
      this.#atMs = Date.now();
      this.#asked = this.#ask();
    }
    const all = await this.#asked;
    if (all === undefined) return 'nobody to ask';
    const found = all.find((p) => p.name === name && p.namespace === namespace);
    return found === undefined ? 'away' : isTappable(found) ? 'skein' : 'other';
  }

  #ask(): Promise<readonly ProxyEntry[] | undefined> {
    return this.#admin.json('GET', '/v1/proxies').then(
      (all) => all as readonly ProxyEntry[],
      () => undefined,
    );
  }
}

export const isTappable = ({ proxy }: ProxyEntry): boolean => /^skein\b/i.test(proxy);
