// DNS messages over TCP: two bytes of length before each (RFC 1035 4.2.2). A machine without I/O.

export const tcpFrame = (message: Uint8Array): Buffer => {
  const out = Buffer.alloc(2 + message.length);
  out.writeUInt16BE(message.length, 0);
  out.set(message, 2);
  return out;
};

/** A message is at most 65,535 bytes by its own length field. */
export class TcpMessages {
  readonly #sink: (message: Buffer) => void;
  #buffered: Buffer = Buffer.alloc(0);

  constructor(sink: (message: Buffer) => void) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    while (this.#buffered.length >= 2) {
      const end = 2 + this.#buffered.readUInt16BE(0);
      if (this.#buffered.length < end) return;
      const message = this.#buffered.subarray(2, end);
      this.#buffered = this.#buffered.subarray(end);
      this.#sink(message);
    }
  }
}
