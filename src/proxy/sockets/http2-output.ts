// The socket side of one HTTP/2 connection: takes what the machine has to say, once a turn, in one write where it is small, and not
// at all while the socket's peer reads slowly: then what waits stays in the machine, which counts and bounds it.

import type { Socket } from 'node:net';
import type { Http2Connection } from '../../wire/http2-connection.ts';
import { JOIN_BYTES } from '../limits.ts';
import type { TurnOutput, TurnOwner } from './turn-output.ts';

export class Http2Output implements TurnOwner {
  readonly #socket: Socket;
  readonly #machine: Http2Connection;
  readonly #turn: TurnOutput;
  #queued = false;
  /** The socket takes no more until it drains. */
  #blocked = false;

  constructor(socket: Socket, machine: Http2Connection, turn: TurnOutput) {
    this.#socket = socket;
    this.#machine = machine;
    this.#turn = turn;
  }

  /** The machine has something to say. */
  wake(): void {
    if (this.#queued || this.#blocked) return;
    this.#queued = true;
    this.#turn.add(this);
  }

  flushTurn(): void {
    this.#queued = false;
    if (!this.#blocked) this.#write();
  }

  /** The socket takes more. */
  drained(): void {
    this.#blocked = false;
    this.#write();
  }

  /** Everything, however slow the peer: the connection ends. */
  last(): void {
    this.#write();
  }

  #write(): void {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return;
    // A broken invariant of ours costs this connection, not those that write after it.
    try {
      this.#takeAll();
    } catch {
      socket.destroy();
    }
  }

  #takeAll(): void {
    for (let pieces = this.#machine.takeOutput(); pieces.length > 0; pieces = this.#machine.takeOutput()) {
      if (!this.#send(pieces)) {
        this.#blocked = true;
        return;
      }
    }
  }

  #send(pieces: Buffer[]): boolean {
    const socket = this.#socket;
    const first = pieces[0] as Buffer;
    if (pieces.length === 1) return socket.write(first);
    let total = 0;
    for (const piece of pieces) total += piece.length;
    if (total <= JOIN_BYTES) return socket.write(Buffer.concat(pieces, total));
    let more = true;
    socket.cork();
    for (const piece of pieces) more = socket.write(piece);
    socket.uncork();
    return more;
  }
}
