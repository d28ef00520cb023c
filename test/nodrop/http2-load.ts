// HTTP/2 with prior knowledge, open loop, on node:http2. After GOAWAY a new connection takes the new requests and the old one finishes
// its own. A request that GOAWAY or REFUSED_STREAM calls unprocessed is sent again and counted as such; all else has failed. Most of those
// never left: nghttp2 refuses by itself what was submitted in the turn in which it reads any GOAWAY, so a busy machine makes more of them.
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import type { Target } from './load-result.ts';
import type { Tally } from './tally.ts';

const GIVE_UP_MS = 10_000;
/** Only as long as each is refused unprocessed. */
const ATTEMPTS = 5;
const { NGHTTP2_REFUSED_STREAM, HTTP2_HEADER_STATUS } = constants;

export class Http2Load {
  readonly #target: Target;
  readonly #tally: Tally;
  readonly #sessions: (ClientHttp2Session | undefined)[] = [];
  #next = 0;
  #closing = false;

  constructor(target: Target, tally: Tally) {
    this.#target = target;
    this.#tally = tally;
    for (let i = 0; i < target.connections; i++) this.#session(i);
  }

  send(dueAt: number): void {
    this.#tally.send();
    this.#request(dueAt, ATTEMPTS);
  }

  close(): void {
    this.#closing = true;
    for (const session of this.#sessions) session?.close();
  }

  #session(slot: number): ClientHttp2Session {
    const known = this.#sessions[slot];
    if (known !== undefined && !known.closed && !known.destroyed) return known;
    const session = connect(`http://${this.#target.host}:${this.#target.port}`);
    this.#sessions[slot] = session;
    const leave = (): void => {
      if (this.#sessions[slot] !== session) return;
      this.#sessions[slot] = undefined;
      if (!this.#closing) this.#tally.reconnects++;
    };
    session.on('goaway', leave);
    session.on('close', leave);
    session.on('error', leave);
    return session;
  }

  #request(dueAt: number, attempts: number): void {
    const session = this.#session(this.#next++ % this.#target.connections);
    let status = 0;
    let body = '';
    let over = false;
    const finish = (reason: string | undefined, code = 0): void => {
      if (over) return;
      over = true;
      if (reason === undefined) this.#tally.succeed(dueAt);
      else if (status === 503 && body === 'no healthy upstream') this.#tally.noHosts();
      else if (attempts > 1 && status === 0 && code === NGHTTP2_REFUSED_STREAM) {
        this.#tally.refused++;
        // In a later turn: one GOAWAY seldom comes alone, and those of the other sessions must have been read before the next is chosen.
        setImmediate(() => this.#request(dueAt, attempts - 1));
      } else this.#tally.fail(`HTTP/2: ${reason}`);
    };
    try {
      const stream = session.request({ ':path': '/small', ':authority': `${this.#target.host}:${this.#target.port}` });
      stream.setTimeout(GIVE_UP_MS, () => {
        finish(`no answer in ${GIVE_UP_MS} ms`);
        stream.close();
      });
      stream.on('response', (headers) => {
        status = Number(headers[HTTP2_HEADER_STATUS]);
      });
      stream.on('data', (bytes: Buffer) => {
        body += bytes.toString('latin1');
      });
      stream.on('error', (e) => finish(e.message, stream.rstCode));
      stream.on('close', () => {
        if (stream.rstCode !== 0) finish(`stream reset, code ${stream.rstCode}`, stream.rstCode);
        else if (status === 200 && stream.readableEnded) finish(undefined);
        else finish(`status ${status} ${body.slice(0, 120)}`);
      });
    } catch (error) {
      // The session learnt of its end in this very turn: nothing was sent.
      finish(error instanceof Error ? error.message : String(error), NGHTTP2_REFUSED_STREAM);
    }
  }
}
