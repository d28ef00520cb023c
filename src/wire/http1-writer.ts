// Writes HTTP/1 heads, chunk framing and trailers. Heads are written one behind the other into slabs and handed out as
// views: a slab is never overwritten, so a view may wait in a socket's queue as long as it must. Body bytes are the
// caller's: it writes `[head, body]` or `[chunkStart(n), body, CRLF]`, or appends a small body to the head.
// It decides nothing: which headers go is the block's content and the skip rule.
import type { HeaderBlock } from './header-block.ts';
import { bytesOfId } from './header-name.ts';
import type { ByteSink } from './header-output.ts';
import { WRITER_SLAB_BYTES } from './limits.ts';

export const CRLF_BYTES: Buffer = Buffer.from('\r\n');
/** Last chunk without trailers. */
export const LAST_CHUNK: Buffer = Buffer.from('0\r\n\r\n');
export const CONTINUE_HEAD: Buffer = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n');

export class Http1Writer implements ByteSink {
  buf: Buffer = Buffer.allocUnsafeSlow(WRITER_SLAB_BYTES);
  at = 0;
  #start = 0;
  /** The view last handed out and where it ends. */
  #last: Buffer | undefined;
  #lastEnd = 0;

  /** `METHOD path HTTP/1.1` and `host`. The block's own host header belongs in the skip rule of `fields`. */
  requestLine(method: string, path: string, authority: string, hostName = 'host'): void {
    this.#start = this.at;
    this.#latin1(method);
    this.#byte(32);
    this.#latin1(path);
    if (hostName === 'host') this.#bytes(REQUEST_TAIL);
    else this.#latin1Line(hostName);
    this.#latin1(authority);
    this.#bytes(CRLF_BYTES);
  }

  /** `HTTP/1.1 status reason`; an empty reason becomes the standard phrase. */
  statusLine(status: number, reason: string): void {
    this.#start = this.at;
    if (reason === '' || reason === STATUS_REASONS[status]) {
      const line = STATUS_LINES[status];
      if (line !== undefined) {
        this.#bytes(line);
        return;
      }
    }
    this.#latin1(`HTTP/1.1 ${status} ${reason === '' ? (STATUS_REASONS[status] ?? 'Unknown') : reason}`);
    this.#bytes(CRLF_BYTES);
  }

  /** All field lines of the block but those in `skip`. */
  fields(headers: HeaderBlock, skip?: Uint8Array): void {
    headers.serializeHttp1(this, skip);
  }

  /** One more field line. */
  fieldById(id: number, value: string): void {
    this.#bytes(bytesOfId(id));
    this.#byte(58);
    this.#byte(32);
    this.#latin1(value);
    this.#bytes(CRLF_BYTES);
  }

  field(name: string, value: string): void {
    this.#latin1(name);
    this.#byte(58);
    this.#byte(32);
    this.#latin1(value);
    this.#bytes(CRLF_BYTES);
  }

  /** Bytes behind the head in the same view: a small body. */
  append(bytes: Buffer, start = 0, end = bytes.length): void {
    this.ensure(end - start);
    bytes.copy(this.buf, this.at, start, end);
    this.at += end - start;
  }

  /** What is appended next goes behind `taken`, in one view with it: without a copy when nothing was written since it was taken. */
  reopen(taken: Buffer): void {
    if (taken === this.#last && this.at === this.#lastEnd) this.#start = this.#lastEnd - taken.length;
    else {
      this.#start = this.at;
      this.append(taken);
    }
  }

  /** A chunk's size line. */
  chunkSize(length: number): void {
    this.#latin1(length.toString(16));
    this.#bytes(CRLF_BYTES);
  }

  /** The empty line. */
  endHead(): void {
    this.#bytes(CRLF_BYTES);
  }

  /** The bytes since the last start; they stay as they are. */
  take(): Buffer {
    const view = this.buf.subarray(this.#start, this.at);
    this.#start = this.at;
    this.#last = view;
    this.#lastEnd = this.at;
    return view;
  }

  /** `<hex>\r\n` before `length` body bytes; CRLF_BYTES goes behind them. `length` > 0. */
  chunkStart(length: number): Buffer {
    this.#start = this.at;
    this.#latin1(length.toString(16));
    this.#bytes(CRLF_BYTES);
    return this.take();
  }

  /** The last chunk with trailers. */
  lastChunk(trailers: HeaderBlock, skip?: Uint8Array): Buffer {
    this.#start = this.at;
    this.#byte(48);
    this.#bytes(CRLF_BYTES);
    this.fields(trailers, skip);
    this.#bytes(CRLF_BYTES);
    return this.take();
  }

  /** A whole field line of ours, its name written as the message writes names. */
  ownLine(headers: HeaderBlock, line: Buffer): void {
    if (!headers.cased) {
      this.append(line);
      return;
    }
    const text = line.toString('latin1');
    const colon = text.indexOf(':');
    this.append(Buffer.from(headers.written(text.slice(0, colon)) + text.slice(colon), 'latin1'));
  }

  #latin1Line(hostName: string): void {
    this.append(Buffer.from(` HTTP/1.1\r\n${hostName}: `, 'latin1'));
  }

  /** Room for `bytes` more; moves the head being written to a new slab when this one is full. */
  ensure(bytes: number): void {
    if (this.at + bytes <= this.buf.length) return;
    const begun = this.at - this.#start;
    const next = Buffer.allocUnsafeSlow(Math.max(WRITER_SLAB_BYTES, (begun + bytes) * 2));
    this.buf.copy(next, 0, this.#start, this.at);
    this.buf = next;
    this.#last = undefined;
    this.#start = 0;
    this.at = begun;
  }

  #byte(c: number): void {
    this.ensure(1);
    this.buf[this.at++] = c;
  }

  #bytes(bytes: Buffer): void {
    const length = bytes.length;
    this.ensure(length);
    for (let i = 0; i < length; i++) this.buf[this.at + i] = bytes[i] as number;
    this.at += length;
  }

  /** Text of bytes; a control byte becomes a space, so no caller can write a line of its own. Text beyond latin1 as UTF-8. */
  #latin1(text: string): void {
    const length = text.length;
    this.ensure(length);
    const buf = this.buf;
    const at = this.at;
    for (let i = 0; i < length; i++) {
      const c = text.charCodeAt(i);
      if (c > 255) {
        this.append(Buffer.from(text, 'utf8'));
        for (let j = at; j < this.at; j++) if ((this.buf[j] as number) < 32 || this.buf[j] === 127) this.buf[j] = 32;
        return;
      }
      buf[at + i] = (c < 32 && c !== 9) || c === 127 ? 32 : c;
    }
    this.at = at + length;
  }
}

const REQUEST_TAIL = Buffer.from(' HTTP/1.1\r\nhost: ');

/** Standard phrases, as Envoy writes them. */
export const STATUS_REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  101: 'Switching Protocols',
  102: 'Processing',
  103: 'Early Hints',
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  203: 'Non-Authoritative Information',
  204: 'No Content',
  205: 'Reset Content',
  206: 'Partial Content',
  207: 'Multi-Status',
  208: 'Already Reported',
  226: 'IM Used',
  300: 'Multiple Choices',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  305: 'Use Proxy',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Payment Required',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  407: 'Proxy Authentication Required',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  411: 'Length Required',
  412: 'Precondition Failed',
  413: 'Payload Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  416: 'Range Not Satisfiable',
  417: 'Expectation Failed',
  418: "I'm a teapot",
  421: 'Misdirected Request',
  422: 'Unprocessable Entity',
  423: 'Locked',
  424: 'Failed Dependency',
  425: 'Too Early',
  426: 'Upgrade Required',
  428: 'Precondition Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  451: 'Unavailable For Legal Reasons',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
  506: 'Variant Also Negotiates',
  507: 'Insufficient Storage',
  508: 'Loop Detected',
  510: 'Not Extended',
  511: 'Network Authentication Required',
};
const STATUS_LINES: Readonly<Record<number, Buffer>> = Object.fromEntries(
  Object.entries(STATUS_REASONS).map(([status, reason]) => [status, Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n`)]),
);
