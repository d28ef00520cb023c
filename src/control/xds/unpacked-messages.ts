// The messages of a call whose client packs them: unpacked once it is known whose call it is, one after the other, in their order, off the
// event loop, and bounded as they come out. What waits is bounded by whoever feeds it: nothing more may be let in while `held`.
import { gunzip } from 'node:zlib';
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';

/** A few kilobytes can unpack to very many; OTLP's batches and access logs are smaller than this. */
const UNPACKED_BYTES_MAX = 4 * 1024 * 1024;

export interface UnpackedTo {
  message(bytes: Uint8Array): void;
  /** Nothing follows. */
  failed(problem: GrpcStatus): void;
  /** What had waited is told. */
  idle(): void;
}

export class UnpackedMessages {
  readonly #encoding: string;
  readonly #to: UnpackedTo;
  readonly #waiting: { readonly bytes: Uint8Array; readonly packed: boolean }[] = [];
  /** Unpacking, or not begun. */
  #busy = true;
  #over = false;

  /** `encoding`: of grpc-encoding. */
  constructor(encoding: string, to: UnpackedTo) {
    this.#encoding = encoding;
    this.#to = to;
  }

  get held(): boolean {
    return this.#busy;
  }

  /** The caller is known: a stranger's few bytes would else come to many. */
  start(): void {
    this.#goOn();
  }

  push(bytes: Uint8Array, packed: boolean): void {
    if (this.#over) return;
    this.#waiting.push({ bytes, packed });
    if (!this.#busy) this.#next();
  }

  /** What waits is forgotten. */
  close(): void {
    this.#over = true;
    this.#waiting.length = 0;
  }

  #next(): void {
    for (let first = this.#waiting.shift(); first !== undefined; first = this.#waiting.shift()) {
      if (!first.packed) this.#to.message(first.bytes);
      else if (this.#encoding !== 'gzip') this.#fail({ code: GRPC.UNIMPLEMENTED, message: 'messages are packed with gzip, or not at all' });
      else {
        this.#busy = true;
        gunzip(first.bytes, { maxOutputLength: UNPACKED_BYTES_MAX }, (error, bytes) => this.#unpacked(error, bytes));
        return;
      }
    }
  }

  #unpacked(error: Error | null, bytes: Uint8Array): void {
    if (this.#over) return;
    if (error === null) {
      this.#to.message(bytes);
      this.#goOn();
    } else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      this.#fail({ code: GRPC.RESOURCE_EXHAUSTED, message: `a message is larger than ${UNPACKED_BYTES_MAX} bytes` });
    else this.#fail({ code: GRPC.INTERNAL, message: 'a message is not packed with gzip' });
  }

  #goOn(): void {
    this.#busy = false;
    this.#next();
    if (!this.#busy && !this.#over) this.#to.idle();
  }

  #fail(problem: GrpcStatus): void {
    this.close();
    this.#to.failed(problem);
  }
}
