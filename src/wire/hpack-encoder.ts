// HPACK encoding (RFC 7541), made for CPU: no Huffman, one remembered table entry per name, compared by bytes. A value
// that keeps changing stops being added, credentials are never added and go out as never indexed, a field that came
// never indexed stays so. Writes to a byte sink; connection-specific fields are left out.

import { bytesOfId, H, HASH_SEED, hashStep, NAME_ID_COUNT, nameOfId } from './header-name.ts';
import type { ByteSink, FieldVisitor } from './header-output.ts';
import { bytesOfCode, HpackTable, P_METHOD, P_PATH, P_SCHEME, P_STATUS, STATIC_COUNT, staticIndexOfName } from './hpack-table.ts';

/** Added while the value stays, or while it is worth a try. */
const ADD = 0;
/** Changes with each message: only its name is worth an entry. */
const CHANGES = 1;
/** Credentials. */
const NEVER = 2;
const LEFT_OUT = 3;
const TE = 4;

const policy = new Uint8Array(NAME_ID_COUNT);
for (const id of [H.CONNECTION, H.KEEP_ALIVE, H.PROXY_CONNECTION, H.TRANSFER_ENCODING, H.UPGRADE, H.HTTP2_SETTINGS]) policy[id] = LEFT_OUT;
for (const id of [H.AUTHORIZATION, H.PROXY_AUTHORIZATION, H.COOKIE, H.SET_COOKIE]) policy[id] = NEVER;
policy[H.TE] = TE;
for (const id of [
  H.CONTENT_LENGTH,
  H.CONTENT_RANGE,
  H.RANGE,
  H.DATE,
  H.ETAG,
  H.AGE,
  H.EXPIRES,
  H.LAST_MODIFIED,
  H.IF_MATCH,
  H.IF_NONE_MATCH,
  H.IF_MODIFIED_SINCE,
  H.IF_UNMODIFIED_SINCE,
  H.IF_RANGE,
  H.LOCATION,
  H.SEC_WEBSOCKET_KEY,
  H.SEC_WEBSOCKET_ACCEPT,
  H.X_REQUEST_ID,
  H.X_ENVOY_UPSTREAM_SERVICE_TIME,
  H.TRACEPARENT,
  H.TRACESTATE,
  H.B3,
  H.X_B3_TRACEID,
  H.X_B3_SPANID,
  H.X_B3_PARENTSPANID,
  H.X_CLIENT_TRACE_ID,
  H.GRPC_TIMEOUT,
  H.GRPC_MESSAGE,
  H.GRPC_STATUS_DETAILS_BIN,
])
  policy[id] = CHANGES;

const staticOfId = Uint8Array.from({ length: NAME_ID_COUNT }, (_, id) => (id === 0 ? 0 : staticIndexOfName(nameOfId(id))));
const staticOfPseudo = Uint8Array.from({ length: 7 }, (_, n) => (n === 0 ? 0 : staticIndexOfName(bytesOfCode(-n).toString('latin1'))));

/** The static entry of a whole pseudo field, 0 when there is none. */
const staticWhole = (code: number, text: string): number => {
  if (code === P_METHOD) return text === 'GET' ? 2 : text === 'POST' ? 3 : 0;
  if (code === P_PATH) return text === '/' ? 4 : 0;
  if (code === P_SCHEME) return text === 'https' ? 7 : text === 'http' ? 6 : 0;
  return code === P_STATUS ? staticStatus(text) : 0;
};
const STATUSES = ['200', '204', '206', '304', '400', '404', '500'];
const staticStatus = (text: string): number => {
  const i = STATUSES.indexOf(text);
  return i < 0 ? 0 : i + 8;
};

const PSEUDO_SLOTS = NAME_ID_COUNT;
const OTHER_SLOTS = NAME_ID_COUNT + 8;
const OTHER_MASK = 63;
const SLOT_COUNT = OTHER_SLOTS + OTHER_MASK + 1;
/** Changes of a value after which it is no longer added. */
const MISSES_MAX = 4;
const MISS_RESET = 16;
const TRAILERS_VALUE = Buffer.from('trailers', 'latin1');

export class HpackEncoder implements FieldVisitor {
  readonly #table: HpackTable;
  readonly #tableMax: number;
  readonly #latest = new Float64Array(SLOT_COUNT); // number of a name's latest entry
  readonly #misses = new Uint8Array(SLOT_COUNT);
  readonly #hits = new Uint8Array(SLOT_COUNT);
  readonly #texts: (string | undefined)[] = new Array(8).fill(undefined); // of pseudo fields' latest entries
  #out: ByteSink;
  #announce = -1; // a size update is due
  #announceLow = -1;

  constructor(out: ByteSink, tableBytes: number) {
    this.#out = out;
    this.#tableMax = tableBytes;
    this.#table = new HpackTable(Math.min(tableBytes, 4096));
    if (tableBytes < 4096) this.#announce = this.#announceLow = tableBytes;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  limitTable(bytes: number): void {
    const size = Math.min(bytes, this.#tableMax);
    if (size === this.#table.max && this.#announce < 0) return;
    this.#announceLow = this.#announce < 0 ? size : Math.min(this.#announceLow, size);
    this.#announce = size;
    this.#table.resize(size);
  }

  /** Before the first field of each block. */
  begin(): void {
    if (this.#announce < 0) return;
    this.#out.ensure(12);
    if (this.#announceLow < this.#announce) this.#integer(0x20, 0x1f, this.#announceLow);
    this.#integer(0x20, 0x1f, this.#announce);
    this.#announce = this.#announceLow = -1;
  }

  status(status: number): void {
    this.pseudo(P_STATUS, STATUS_TEXTS[status] ?? String(status));
  }

  /** `code` < 0 as in hpack-table. */
  pseudo(code: number, text: string): void {
    const i = -code;
    const slot = PSEUDO_SLOTS + i;
    const table = this.#table;
    const latest = this.#latest[slot] as number;
    const out = this.#out;
    out.ensure(text.length + 40);
    if (this.#texts[i] === text && table.has(latest)) {
      this.#integer(0x80, 0x7f, STATIC_COUNT + table.inserted - latest + 1);
      return;
    }
    const whole = staticWhole(code, text);
    if (whole !== 0) {
      out.buf[out.at++] = 0x80 | whole;
      return;
    }
    const add = this.#worthAdding(slot, text.length);
    const name = staticOfPseudo[i] as number;
    if (add) this.#integer(0x40, 0x3f, name);
    else this.#integer(0, 0x0f, name);
    if (name === 0) this.#string(bytesOfCode(code), 0, bytesOfCode(code).length);
    this.#integer(0, 0x7f, text.length);
    const start = out.at;
    out.at += out.buf.write(text, start, 'latin1');
    if (!add) return;
    table.add(code, out.buf, 0, 0, out.buf, start, out.at, 0);
    this.#latest[slot] = table.inserted;
    this.#texts[i] = text;
  }

  field(
    id: number,
    names: Buffer,
    nameStart: number,
    nameEnd: number,
    values: Buffer,
    start: number,
    end: number,
    sensitive: boolean,
  ): void {
    let rule = policy[id] as number;
    if (rule >= LEFT_OUT) {
      if (rule === LEFT_OUT || !sameBytes(values, start, end, TRAILERS_VALUE, 0, TRAILERS_VALUE.length)) return;
      rule = ADD;
    }
    if (sensitive) rule = NEVER;
    this.#out.ensure(nameEnd - nameStart + end - start + 64);
    const slot = id !== 0 ? id : OTHER_SLOTS + (hashOf(names, nameStart, nameEnd) & OTHER_MASK);
    const table = this.#table;
    const latest = this.#latest[slot] as number;
    let live = table.has(latest);
    if (live) {
      const at = table.slot(latest);
      if (id === 0 && !sameBytes(names, nameStart, nameEnd, table.bytes, table.nameStart(at), table.nameEnd(at))) live = false;
      else if (rule !== NEVER && sameBytes(values, start, end, table.bytes, table.valueStart(at), table.valueEnd(at))) {
        this.#hit(slot);
        this.#integer(0x80, 0x7f, STATIC_COUNT + table.inserted - latest + 1);
        return;
      }
    }
    let name = staticOfId[id] as number;
    if (name === 0 && live) name = STATIC_COUNT + table.inserted - latest + 1;
    const add = rule === ADD || (rule === CHANGES && name === 0) ? this.#worthAdding(slot, end - start) : false;
    if (add) this.#integer(0x40, 0x3f, name);
    else this.#integer(rule === NEVER ? 0x10 : 0, 0x0f, name);
    if (name === 0) {
      if (id === 0) this.#string(names, nameStart, nameEnd);
      else this.#string(bytesOfId(id), 0, bytesOfId(id).length);
    }
    this.#string(values, start, end);
    if (!add) return;
    table.add(id, names, nameStart, nameEnd, values, start, end, 0);
    this.#latest[slot] = table.inserted;
  }

  #hit(slot: number): void {
    if (this.#misses[slot] === 0) return;
    const hits = (this.#hits[slot] as number) + 1;
    if (hits >= MISS_RESET) this.#misses[slot] = 0;
    this.#hits[slot] = hits % MISS_RESET;
  }

  #worthAdding(slot: number, valueBytes: number): boolean {
    const misses = this.#misses[slot] as number;
    if (misses >= MISSES_MAX || valueBytes * 4 > this.#table.max) return false;
    this.#misses[slot] = misses + 1;
    return true;
  }

  #integer(pattern: number, mask: number, value: number): void {
    const out = this.#out;
    const buf = out.buf;
    if (value < mask) {
      buf[out.at++] = pattern | value;
      return;
    }
    buf[out.at++] = pattern | mask;
    let rest = value - mask;
    while (rest >= 0x80) {
      buf[out.at++] = 0x80 | (rest & 0x7f);
      rest = Math.floor(rest / 128);
    }
    buf[out.at++] = rest;
  }

  #string(from: Buffer, start: number, end: number): void {
    const length = end - start;
    this.#integer(0, 0x7f, length);
    const out = this.#out;
    const to = out.buf;
    const at = out.at;
    if (length > 64) from.copy(to, at, start, end);
    else for (let i = 0; i < length; i++) to[at + i] = from[start + i] as number;
    out.at = at + length;
  }
}

const STATUS_TEXTS: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

const hashOf = (buf: Buffer, start: number, end: number): number => {
  let hash = HASH_SEED;
  for (let i = start; i < end; i++) hash = hashStep(hash, buf[i] as number);
  return hash ^ (hash >>> 15);
};

const sameBytes = (a: Buffer, start: number, end: number, b: Buffer, from: number, to: number): boolean => {
  const length = end - start;
  if (length !== to - from) return false;
  for (let i = 0; i < length; i++) if (a[start + i] !== b[from + i]) return false;
  return true;
};
