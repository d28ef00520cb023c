// Spans as OTLP's protobuf: one span at a time as it ends, framed into a request when a batch goes.

import { ProtoBuffer } from '../../plan/proto-buffer.ts';
import type { SpanRecord } from '../../plan/tracing/span.ts';

const SERVER = 2;
const CLIENT = 3;
const STATUS_ERROR = 2;
const SAMPLED = 0x01;
const SAYS_REMOTE = 0x100;
const REMOTE = 0x200;
const US_TO_NS = 1000n;

const scratch = new ProtoBuffer(2048);

const taken = (): Buffer => {
  const out = Buffer.from(scratch.bytes.subarray(0, scratch.length));
  scratch.length = 0;
  return out;
};

const writeAttribute = (field: number, key: string, value: string): void => {
  const attribute = scratch.begin(field);
  scratch.string(1, key);
  const any = scratch.begin(2);
  scratch.string(1, value, true);
  scratch.end(any);
  scratch.end(attribute);
};

/** A client is failed by what a server may have meant. */
const isError = (kind: SpanRecord['kind'], status: number): boolean => status >= (kind === 'client' ? 400 : 500);

export const encodeSpan = (span: SpanRecord): Buffer => {
  const start = BigInt(span.startUs);
  const out = scratch;
  out.blob(1, Buffer.from(span.traceId.padStart(32, '0'), 'hex'));
  out.blob(2, Buffer.from(span.spanId, 'hex'));
  out.received(3, span.state);
  if (span.parentId !== '') out.blob(4, Buffer.from(span.parentId, 'hex'));
  out.string(5, span.name);
  out.uint(6, span.kind === 'server' ? SERVER : CLIENT);
  out.fixed64(7, start * US_TO_NS);
  out.fixed64(8, (start + BigInt(span.durationUs)) * US_TO_NS);
  for (const [key, value] of span.tags) writeAttribute(9, key, value);
  for (const { name, atUs } of span.events) {
    const event = out.begin(11);
    out.fixed64(1, BigInt(atUs) * US_TO_NS);
    out.string(2, name);
    out.end(event);
  }
  if (span.failed || isError(span.kind, span.status)) {
    const status = out.begin(15);
    out.uint(3, STATUS_ERROR);
    out.end(status);
  }
  out.fixed32(16, SAMPLED | SAYS_REMOTE | (span.remoteParent ? REMOTE : 0));
  return taken();
};

/** An ExportTraceServiceRequest around encoded spans of one resource. */
export const exportRequest = (resource: ReadonlyMap<string, string>): ((spans: readonly Buffer[]) => Buffer) => {
  const message = scratch.begin(1);
  for (const [key, value] of resource) writeAttribute(1, key, value);
  scratch.end(message);
  const resourceField = taken();
  const scope = scratch.begin(1);
  scratch.string(1, 'skein');
  scratch.end(scope);
  const scopeField = taken();
  return (spans) => {
    const framed: Buffer[] = [];
    let length = scopeField.length;
    for (const span of spans) {
      const before = prefix(2, span.length);
      framed.push(before, span);
      length += before.length + span.length;
    }
    const scoped = prefix(2, length);
    return Buffer.concat([prefix(1, resourceField.length + scoped.length + length), resourceField, scoped, scopeField, ...framed]);
  };
};

const prefix = (field: number, bytes: number): Buffer => {
  scratch.frame(field, bytes);
  return taken();
};
