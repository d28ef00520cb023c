// What header fields are given out to: a head that is serialised, an encoder, a reader of one value.

/** What a head is serialised into; `Http1Writer` is one. */
export interface ByteSink {
  /** Room for so many bytes at `at` of `buf`; both may change. */
  ensure(bytes: number): void;
  buf: Buffer;
  at: number;
}

/** What `visit` gives the fields to; `HpackEncoder` is one. The name's range counts only when `id` is 0. */
export interface FieldVisitor {
  field(
    id: number,
    names: Buffer,
    nameStart: number,
    nameEnd: number,
    values: Buffer,
    start: number,
    end: number,
    sensitive: boolean,
  ): void;
}

/** What `visitValue` gives a value's bytes to; an access log's line is one. */
export interface ValueVisitor {
  value(bytes: Buffer, start: number, end: number): void;
}

/** Below this many bytes a loop beats a call into the runtime. */
export const LOOP_COPY_MAX = 48;

/** Adds bytes at the end of `out`. */
export const copyBytes = (from: Buffer, start: number, end: number, out: ByteSink): void => {
  const length = end - start;
  out.ensure(length);
  const to = out.buf;
  const at = out.at;
  if (length <= LOOP_COPY_MAX) for (let i = 0; i < length; i++) to[at + i] = from[start + i] as number;
  else from.copy(to, at, start, end);
  out.at = at + length;
};
