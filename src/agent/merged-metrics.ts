// The page on 15020: the proxy's metrics, the agent's own and the application's, one behind the other in one text. Made while it is read:
// a page of any length takes no turn of the event loop for long.
import type { PageAnswer } from '../wire/http1-page-server.ts';
import type { AdminRequest, AdminResponse } from './admin-client.ts';
import { type ApplicationMetrics, type ApplicationPage, askApplication } from './application-metrics.ts';
import { cleanExposition, ExpositionError } from './exposition.ts';
import type { PageStream } from './http-port.ts';

const TYPE = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' };
/** Of a text that is whole already. */
const PIECE_LENGTH = 65_536;
/** Before the next look at a reader that has not taken what was sent. */
const FULL_MS = 20;
const TYPE_LINE = /^# TYPE (\S+)/gm;

export interface MergedOptions {
  readonly admin: (request: AdminRequest) => Promise<AdminResponse>;
  /** Of the agent, as text. */
  readonly own: () => string;
  /** A text: why it cannot be asked. Absent: it tells nothing, or is not to be asked. */
  readonly application: ApplicationMetrics | string | undefined;
  readonly log: (problem: string) => void;
}

type Reader = Parameters<PageStream>[0];

export class MergedMetrics {
  readonly #options: MergedOptions;
  #scrapes = 0;
  #applicationFailures = 0;
  #proxyFailures = 0;
  #leftOut = 0;
  #applicationDown = false;

  constructor(options: MergedOptions) {
    this.#options = options;
  }

  async page(): Promise<PageAnswer & { readonly stream?: PageStream }> {
    this.#scrapes++;
    const { application } = this.#options;
    const asked = application === undefined ? undefined : this.#ask(application);
    let proxy: AdminResponse;
    try {
      proxy = await this.#options.admin({ method: 'GET', path: '/stats/prometheus', body: '', pieces: true });
    } catch (problem) {
      this.#proxyFailures++;
      const body = `the proxy's metrics cannot be read: ${problem instanceof Error ? problem.message : String(problem)}\n`;
      return { status: 503, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
    }
    if (proxy.status !== 200) {
      this.#proxyFailures++;
      return { status: proxy.status, headers: TYPE, body: proxy.body };
    }
    return { status: 200, headers: TYPE, body: '', stream: (reader) => this.#stream(reader, proxy, asked) };
  }

  async #ask(application: ApplicationMetrics | string): Promise<ApplicationPage | undefined> {
    if (typeof application === 'string') return this.#noPage(application);
    return askApplication(application).catch((problem: unknown) => this.#noPage(problem));
  }

  #stream(reader: Reader, proxy: AdminResponse, asked: Promise<ApplicationPage | undefined> | undefined): () => void {
    let stopped = false;
    let stopProxy = (): void => {};
    const taken = new Set<string>();
    const goOn = async (): Promise<void> => {
      const page = await asked;
      for (const pieces of [[this.#ownText()], page === undefined ? [] : this.#clean(page, taken)]) {
        for (const piece of pieces) if (!(await sent(reader, piece, () => stopped))) return;
      }
      reader.end();
    };
    const noting: Reader = {
      send: (piece) => {
        if (!reader.send(piece)) return false;
        for (const [, name = ''] of piece.matchAll(TYPE_LINE)) taken.add(name);
        return true;
      },
      end: () => void goOn(),
    };
    if (proxy.stream !== undefined) stopProxy = proxy.stream(noting);
    else void whole(noting, proxy.body, () => stopped);
    return () => {
      stopped = true;
      stopProxy();
    };
  }

  #ownText(): string {
    const failures = [
      ['envoy', this.#proxyFailures],
      ['application', this.#applicationFailures],
    ] as const;
    return [
      this.#options.own(),
      '# HELP istio_agent_scrapes_total The total number of scrapes.\n# TYPE istio_agent_scrapes_total counter\n',
      `istio_agent_scrapes_total ${this.#scrapes}\n`,
      '# HELP istio_agent_scrape_failures_total The total number of failed scrapes.\n# TYPE istio_agent_scrape_failures_total counter\n',
      ...failures.map(([type, n]) => `istio_agent_scrape_failures_total{type="${type}"} ${n}\n`),
      '# HELP skein_agent_application_lines_left_out_total Lines of the application whose metric the proxy or the agent tells already\n',
      '# TYPE skein_agent_application_lines_left_out_total counter\n',
      `skein_agent_application_lines_left_out_total ${this.#leftOut}\n`,
    ].join('');
  }

  *#clean({ body, openMetrics }: ApplicationPage, taken: ReadonlySet<string>): Generator<string> {
    try {
      yield* cleanExposition(body, { openMetrics, taken: new Set([...taken, ...OWN_NAMES]), leftOut: () => void this.#leftOut++ });
      this.#applicationDown = false;
    } catch (problem) {
      if (!(problem instanceof ExpositionError)) throw problem;
      this.#noPage(problem);
    }
  }

  /** Said once, until it answers again. */
  #noPage(problem: unknown): undefined {
    this.#applicationFailures++;
    if (!this.#applicationDown) this.#options.log(problem instanceof Error ? problem.message : String(problem));
    this.#applicationDown = true;
    return undefined;
  }
}

const OWN_NAMES = ['istio_agent_cert_expiry_seconds', 'istio_agent_scrapes_total', 'istio_agent_scrape_failures_total'];

const whole = async (reader: Reader, text: string, stopped: () => boolean): Promise<void> => {
  for (let at = 0; at < text.length; ) {
    // At the end of a line, so that no line is in two pieces.
    const end = text.length - at <= PIECE_LENGTH ? text.length : text.indexOf('\n', at + PIECE_LENGTH) + 1 || text.length;
    if (!(await sent(reader, text.slice(at, end), stopped))) return;
    at = end;
  }
  if (text !== '' && !text.endsWith('\n')) await sent(reader, '\n', stopped);
  reader.end();
};

/** In a turn of its own. False: nobody reads any more. */
const sent = async (reader: Reader, piece: string, stopped: () => boolean): Promise<boolean> => {
  await new Promise<void>((resolve) => setImmediate(resolve));
  while (!stopped() && piece !== '' && !reader.send(piece)) await new Promise<void>((resolve) => setTimeout(resolve, FULL_MS));
  return !stopped();
};
