// An answer of a sidecar that comes in pieces, given on to whoever reads the admin API. A reader that does not keep up is cut off; when it
// leaves, the sidecar is told to stop.
import type { ServerResponse } from 'node:http';
import { EVENT_BACKLOG_BYTES_MAX } from '../limits.ts';
import type { AdminReply } from './http.ts';
import type { PieceReader } from './operator-hub.ts';

export class PieceStream implements PieceReader {
  #response: ServerResponse | undefined;
  /** Came before there was a response to write to. */
  #early = '';
  #ended: 'whole' | 'cut' | undefined;

  piece(text: string): void {
    const response = this.#response;
    if (response === undefined) this.#early += text;
    else if (response.writableLength > EVENT_BACKLOG_BYTES_MAX) response.destroy();
    else response.write(text);
  }

  /** An end that the sidecar has not said is seen: the answer is cut, not finished. */
  end(failure: string): void {
    this.#ended = failure === '' ? 'whole' : 'cut';
    if (failure !== '') this.#response?.destroy();
    else this.#response?.end();
  }

  reply(contentType: string, cancel: () => void): AdminReply {
    return {
      stream: (response) => {
        response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store' });
        response.on('close', cancel);
        response.on('error', cancel);
        this.#response = response;
        if (response.destroyed) cancel();
        else if (this.#ended === 'whole') response.end(this.#early);
        else if (this.#ended === 'cut') {
          // What came is read first, and then that it was not all.
          response.flushHeaders();
          if (this.#early !== '') response.write(this.#early);
          setImmediate(() => response.destroy());
        } else if (this.#early !== '') response.write(this.#early);
        else response.flushHeaders();
        this.#early = '';
      },
    };
  }
}
