// Where a request stands in a trace, as W3C's and Zipkin's headers carry it from one hop to the next: read, and written. Ids are lower-case
// hexadecimal text. A context that cannot be read is told from one that is absent: nothing is made of the former.

import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';

/** Of one request; its owner uses it again. */
export class TraceContext {
  /** '': the request is in no trace. */
  traceId = '';
  spanId = '';
  parentId = '';
  sampled = false;
  /** tracestate. */
  state = '';
  /** The caller is in this trace. */
  remote = false;
  /** The caller wrote all into one header. */
  single = false;

  reset(): void {
    this.traceId = '';
    this.spanId = '';
    this.parentId = '';
    this.sampled = false;
    this.state = '';
    this.remote = false;
    this.single = false;
  }
}

/** What the caller's headers hold: its `spanId` is the caller's span. */
export type Found = 'context' | 'nothing' | 'broken';

const DASH = 45;
const ZERO = 48;
/** Where the parts of a traceparent end: version, trace id, span id, flags. */
const TRACEPARENT_ENDS = [2, 35, 52, 55] as const;
const TRACEPARENT_LENGTH = 55;

/** By hand: every request of a trace comes here. False: not of this form, or an id that is all zeros. */
const isTraceparent = (text: string): boolean => {
  if (text.length < TRACEPARENT_LENGTH) return false;
  let start = 0;
  for (const end of TRACEPARENT_ENDS) {
    let zeros = true;
    for (let i = start; i < end; i++) {
      const c = text.charCodeAt(i);
      if (!((c >= ZERO && c <= 57) || (c >= 97 && c <= 102))) return false;
      if (c !== ZERO) zeros = false;
    }
    if (zeros && end - start > 2) return false;
    if (end < text.length && text.charCodeAt(end) !== DASH) return false;
    start = end + 1;
  }
  return true;
};

/** W3C's: https://www.w3.org/TR/trace-context/ */
export const readTraceparent = (headers: HeaderBlock, to: TraceContext): Found => {
  const text = headers.getById(H.TRACEPARENT);
  if (text === undefined) return 'nothing';
  const value = text.trim();
  if (!isTraceparent(value) || value.startsWith('ff') || (value.length > TRACEPARENT_LENGTH && value.startsWith('00'))) return 'broken';
  to.traceId = value.slice(3, 35);
  to.spanId = value.slice(36, 52);
  to.sampled = (Number.parseInt(value.slice(53, 55), 16) & 1) === 1;
  to.state = headers.hasId(H.TRACESTATE) ? headers.values('tracestate').join(',') : '';
  return 'context';
};

const B3 = /^(?:([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d]))?(?:-([0-9a-f]{16}))?|([01d]))$/i;
const HEX_ID = /^[0-9a-f]{1,16}$/i;
const HEX_TRACE_ID = /^(?:[0-9a-f]{1,16}|[0-9a-f]{32})$/i;

/** Zipkin's, in one header or in several. `sampled` is told whatever is found; `otherwise`: what it is where the caller does not say. */
export const readB3 = (headers: HeaderBlock, to: TraceContext, otherwise: boolean): Found => {
  to.sampled = otherwise;
  const single = headers.getById(H.B3);
  if (single !== undefined) return readSingle(single, to);
  const sampled = headers.getById(H.X_B3_SAMPLED);
  if (sampled !== undefined) to.sampled = sampled === '1' || sampled === 'true';
  const traceId = headers.getById(H.X_B3_TRACEID);
  const spanId = headers.getById(H.X_B3_SPANID);
  if (traceId === undefined || spanId === undefined) return 'nothing';
  const parentId = headers.getById(H.X_B3_PARENTSPANID) ?? '';
  if (!HEX_TRACE_ID.test(traceId) || !HEX_ID.test(spanId) || (parentId !== '' && !HEX_ID.test(parentId))) return 'broken';
  setIds(to, traceId, spanId, parentId);
  return 'context';
};

const readSingle = (text: string, to: TraceContext): Found => {
  const match = B3.exec(text);
  if (match === null) return 'broken';
  to.single = true;
  const [, traceId, spanId, sampled, parentId, alone] = match;
  const said = sampled ?? alone;
  if (said !== undefined) to.sampled = said !== '0';
  if (traceId === undefined || spanId === undefined) return 'nothing';
  setIds(to, traceId, spanId, parentId ?? '');
  return 'context';
};

const HIGH_ZEROS = '0'.repeat(16);
const padded = (id: string): string => (id === '' ? '' : id.toLowerCase().padStart(16, '0'));

const setIds = (to: TraceContext, traceId: string, spanId: string, parentId: string): void => {
  const whole = padded(traceId);
  to.traceId = whole.length === 32 && whole.startsWith(HIGH_ZEROS) ? whole.slice(16) : whole;
  to.spanId = padded(spanId);
  to.parentId = padded(parentId);
};

export const writeTraceparent = (headers: HeaderBlock, context: TraceContext, spanId: string): void => {
  const { traceId, sampled } = context;
  headers.setById(H.TRACEPARENT, `00-${traceId.length === 32 ? traceId : traceId.padStart(32, '0')}-${spanId}-0${sampled ? '1' : '0'}`);
  if (context.state !== '') headers.setById(H.TRACESTATE, context.state);
};

/** In the form it came in. */
export const writeB3 = (headers: HeaderBlock, context: TraceContext, spanId: string, parentId: string): void => {
  const { traceId, sampled } = context;
  if (context.single) {
    headers.setById(H.B3, `${traceId}-${spanId}-${sampled ? '1' : '0'}${parentId === '' ? '' : `-${parentId}`}`);
    return;
  }
  headers.setById(H.X_B3_TRACEID, traceId);
  headers.setById(H.X_B3_SPANID, spanId);
  if (parentId !== '') headers.setById(H.X_B3_PARENTSPANID, parentId);
  headers.setById(H.X_B3_SAMPLED, sampled ? '1' : '0');
};
