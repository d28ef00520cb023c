// What a connection manager needs of a tracer: the caller's context read and continued in its way, the context written for the next hop,
// finished spans taken. `report` costs the encoding of a span; it never waits and never throws.

import { randomFillSync } from 'node:crypto';
import type { SpanRecord } from '../../plan/tracing/span.ts';
import type { TraceContext } from '../../plan/tracing/trace-context.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';

export interface Tracer {
  /**
   * Begins the span of a request: fills `context`, whose `spanId` is the new span's and `parentId` the caller's. False: the caller's
   * context is broken, the request is let through as it is.
   */
  begin(headers: HeaderBlock, context: TraceContext, traced: boolean): boolean;
  /** For the next hop. */
  inject(headers: HeaderBlock, context: TraceContext, spanId: string, parentId: string): void;
  report(span: SpanRecord): void;
  /** As the tracer names a request that nothing else names. */
  nameOf(egress: boolean, authority: string): string;
  /** The tracer itself wants a span of every attempt. */
  readonly splits: boolean;
  /** Sends what waits, at most for so long. */
  close(withinMs: number): Promise<void>;
}

const POOL_BYTES = 4096;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

/** So many random bytes, 8 or 16, in hexadecimal; never all zeros. */
export const randomId = (bytes: 8 | 16): string => {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const at = used;
  used += bytes;
  if (pool[at] === 0) pool[at] = 1;
  return pool.toString('hex', at, at + bytes);
};
