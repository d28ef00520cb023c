// The outgoing side of one HTTP/1 connection: head, small first body bytes and end leave in one write; large body pieces are
// written as they are, never copied. flush() ends a turn. `false` from body() means: stop until the socket drains.

import type { Socket } from 'node:net';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { CRLF_BYTES, type Http1Writer, LAST_CHUNK } from '../../wire/http1-writer.ts';
import { JOIN_BYTES } from '../limits.ts';

export class SocketOutput {
  readonly #socket: Socket;
  readonly #writer: Http1Writer;
  #pending: Buffer | undefined;
  bytesWritten = 0;

  constructor(socket: Socket, writer: Http1Writer) {
    this.#socket = socket;
    this.#writer = writer;
  }

  /** Bytes that may wait for flush(): a head just taken from the writer. */
  push(bytes: Buffer): void {
    const pending = this.#pending;
    if (pending === undefined) {
      this.#pending = bytes;
      return;
    }
    if (pending.length + bytes.length > JOIN_BYTES) {
      this.#write(pending);
      this.#pending = bytes;
      return;
    }
    this.#writer.reopen(pending);
    this.#writer.append(bytes);
    this.#pending = this.#writer.take();
  }

  body(buf: Buffer, start: number, end: number, chunked: boolean): boolean {
    const size = end - start;
    if (size === 0) return true;
    const pending = this.#pending;
    if (size <= JOIN_BYTES && (chunked || pending !== undefined)) {
      const writer = this.#writer;
      if (pending !== undefined) writer.reopen(pending);
      if (chunked) writer.chunkSize(size);
      writer.append(buf, start, end);
      if (chunked) writer.append(CRLF_BYTES);
      const joined = writer.take();
      if (joined.length <= JOIN_BYTES) {
        this.#pending = joined;
        // What flush() wrote may have been too much already.
        return !this.#socket.writableNeedDrain;
      }
      this.#pending = undefined;
      return this.#write(joined);
    }
    this.#pending = undefined;
    const body = start === 0 && end === buf.length ? buf : buf.subarray(start, end);
    if (pending === undefined && !chunked) return this.#write(body);
    this.#socket.cork();
    if (pending !== undefined) this.#write(pending);
    if (chunked) this.#write(this.#writer.chunkStart(size));
    const more = this.#write(body);
    if (chunked) this.#write(CRLF_BYTES);
    this.#socket.uncork();
    return more;
  }

  end(chunked: boolean, trailers: HeaderBlock | undefined): void {
    if (chunked) this.push(trailers === undefined || trailers.count === 0 ? LAST_CHUNK : this.#writer.lastChunk(trailers));
  }

  flush(): boolean {
    const pending = this.#pending;
    if (pending === undefined) return true;
    this.#pending = undefined;
    return this.#write(pending);
  }

  /** Forgets what waits: the message is given up. */
  drop(): void {
    this.#pending = undefined;
  }

  #write(bytes: Buffer): boolean {
    this.bytesWritten += bytes.length;
    return this.#socket.write(bytes);
  }
}
