// A sink that writes down what a parser tells it, and ways to feed one in pieces.
import { type Http1Limits, Http1Parser, type Http1Problem, type Http1Sink } from '../../src/wire/http1-parser.ts';

export interface Message {
  start: string;
  headers: [string, string][];
  bodyKind: string;
  keepAlive: boolean;
  upgrade: boolean;
  body: string;
  trailers: [string, string][];
  ended: boolean;
}

export class Recorder implements Http1Sink {
  readonly messages: Message[] = [];
  readonly informational: number[] = [];
  problem: Http1Problem | undefined = undefined;

  onHead(p: Http1Parser): void {
    this.messages.push({
      start: p.kind === 'request' ? `${p.method} ${p.target} 1.${p.versionMinor}` : `${p.statusCode} ${p.reason} 1.${p.versionMinor}`,
      headers: p.headers.entries(),
      bodyKind: p.bodyKind,
      keepAlive: p.keepAlive,
      upgrade: p.upgrade,
      body: '',
      trailers: [],
      ended: false,
    });
  }
  onInformational(p: Http1Parser): void {
    this.informational.push(p.statusCode);
  }
  onBody(buf: Buffer, start: number, end: number): void {
    this.last.body += buf.toString('latin1', start, end);
  }
  onTrailers(trailers: { entries(): [string, string][] }): void {
    this.last.trailers = trailers.entries();
  }
  onEnd(): void {
    this.last.ended = true;
  }
  onError(problem: Http1Problem): void {
    this.problem = problem;
  }
  get last(): Message {
    const m = this.messages.at(-1);
    if (m === undefined) throw new Error('no message yet');
    return m;
  }
}

export interface Feed {
  readonly limits?: Http1Limits;
  /** Offsets at which the bytes are cut; every byte alone when 'bytes'. */
  readonly cuts?: readonly number[] | 'bytes';
  readonly methods?: readonly string[];
  readonly finish?: boolean;
}

/** Feeds every message of `text`, resuming after each. */
export const feed = (kind: 'request' | 'response', text: string, options: Feed = {}): Recorder => {
  const bytes = Buffer.from(text, 'latin1');
  const recorder = new Recorder();
  const parser = new Http1Parser(kind, recorder, options.limits ?? {});
  const methods = [...(options.methods ?? ['GET'])];
  if (kind === 'response') parser.expect(methods.shift() ?? 'GET');
  const cuts = options.cuts === 'bytes' ? Array.from(bytes, (_, i) => i) : [...(options.cuts ?? [])].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    // A chunk of its own, as a socket gives it.
    const chunk = Buffer.from(bytes.subarray(from, to));
    let at = 0;
    while (at < chunk.length) {
      const next = parser.execute(chunk, at, chunk.length);
      if (parser.paused && (kind === 'request' || methods.length > 0)) {
        if (kind === 'response') parser.expect(methods.shift() ?? 'GET');
        else parser.resume();
      } else if (next === at) break;
      at = next;
    }
    from = to;
  }
  if (options.finish) parser.finish();
  return recorder;
};
