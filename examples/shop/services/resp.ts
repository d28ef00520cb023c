// The wire format that Redis clients and servers speak (RESP2): values to bytes and back.

export type RespValue = string | number | null | Error | readonly RespValue[];

export const encodeCommand = (words: readonly string[]): string =>
  `*${words.length}\r\n${words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join('')}`;

export const encodeReply = (value: RespValue): string => {
  if (value === null) return '$-1\r\n';
  if (typeof value === 'number') return `:${value}\r\n`;
  if (typeof value === 'string') return `$${Buffer.byteLength(value)}\r\n${value}\r\n`;
  if (value instanceof Error) return `-ERR ${value.message}\r\n`;
  return `*${value.length}\r\n${value.map(encodeReply).join('')}`;
};

const PENDING_BYTES_MAX = 1024 * 1024;

/** Feed bytes, take whole values. Throws on bytes that are no RESP. */
export class RespReader {
  #buffer = Buffer.alloc(0);

  push(chunk: Buffer): RespValue[] {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    const out: RespValue[] = [];
    let at = 0;
    for (;;) {
      const parsed = this.#read(at);
      if (!parsed) break;
      out.push(parsed[0]);
      at = parsed[1];
    }
    this.#buffer = this.#buffer.subarray(at);
    if (this.#buffer.length > PENDING_BYTES_MAX) throw new Error('value too large');
    return out;
  }

  #read(at: number): [RespValue, number] | undefined {
    const end = this.#buffer.indexOf('\r\n', at);
    if (end < 0) return undefined;
    const line = this.#buffer.toString('utf8', at + 1, end);
    const next = end + 2;
    switch (this.#buffer[at]) {
      case 0x2b:
        return [line, next]; // +
      case 0x2d:
        return [new Error(line), next]; // -
      case 0x3a:
        return [Number(line), next]; // :
      case 0x24: {
        // $
        const size = Number(line);
        if (size < 0) return [null, next];
        if (this.#buffer.length < next + size + 2) return undefined;
        return [this.#buffer.toString('utf8', next, next + size), next + size + 2];
      }
      case 0x2a: {
        // *
        const items: RespValue[] = [];
        let position = next;
        for (let i = 0; i < Number(line); i++) {
          const item = this.#read(position);
          if (!item) return undefined;
          items.push(item[0]);
          position = item[1];
        }
        return [items, position];
      }
      default:
        throw new Error(`byte ${this.#buffer[at]} starts no value`);
    }
  }
}
