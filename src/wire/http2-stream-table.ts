// Open streams by id. Ids of one side grow by two, so those that are open together lie side by side: a small ring finds them without
// hashing and without the garbage that a Map leaves when entries come and go. A peer that leaves streams open far apart fills the
// ring's places twice; those few live in a Map.
import type { Http2Stream } from './http2-stream.ts';

const FIRST = 16;
const MOST = 1024;

export class Http2StreamTable {
  size = 0;
  #ring: (Http2Stream | undefined)[] = new Array(FIRST).fill(undefined);
  #mask = FIRST - 1;
  /** Those whose place in the ring is taken. */
  #apart: Map<number, Http2Stream> | undefined;

  get(id: number): Http2Stream | undefined {
    const near = this.#ring[(id >>> 1) & this.#mask];
    if (near !== undefined && near.id === id) return near;
    return this.#apart?.get(id);
  }

  /** The id must not be in the table. */
  add(stream: Http2Stream): void {
    this.size++;
    const at = (stream.id >>> 1) & this.#mask;
    if (this.#ring[at] === undefined) this.#ring[at] = stream;
    else if (this.size * 2 > this.#ring.length && this.#ring.length < MOST) this.#grow(stream);
    else this.#setApart(stream);
  }

  remove(stream: Http2Stream): void {
    const at = (stream.id >>> 1) & this.#mask;
    if (this.#ring[at] === stream) this.#ring[at] = undefined;
    else if (!this.#apart?.delete(stream.id)) return;
    this.size--;
  }

  /** In order of id. */
  all(): Http2Stream[] {
    const near = this.#ring.filter((stream) => stream !== undefined);
    return [...near, ...(this.#apart?.values() ?? [])].sort((a, b) => a.id - b.id);
  }

  #setApart(stream: Http2Stream): void {
    this.#apart ??= new Map();
    this.#apart.set(stream.id, stream);
  }

  #grow(added: Http2Stream): void {
    const streams = [...this.all(), added];
    const places = this.#ring.length * 2;
    this.#ring = new Array(places).fill(undefined);
    this.#mask = places - 1;
    this.#apart = undefined;
    for (const stream of streams) {
      const at = (stream.id >>> 1) & this.#mask;
      if (this.#ring[at] === undefined) this.#ring[at] = stream;
      else this.#setApart(stream);
    }
  }
}
