// How many spans an ExportTraceServiceRequest has: resource_spans (1) > scope_spans (2) > spans (2). Pure; throws for what is cut short.

const BLOB = 2;
const PATH = [1, 2, 2] as const;

const count = (bytes: Buffer, path: readonly number[]): number => {
  const [wanted, ...deeper] = path;
  let at = 0;
  let found = 0;
  const varint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('the message ends too soon');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    // A request has nothing but messages on these levels, and schema_url.
    if (key % 8 !== BLOB) throw new Error(`wire type ${key % 8} is not expected`);
    const end = varint() + at;
    if (end > bytes.length) throw new Error('the message ends too soon');
    if (Math.floor(key / 8) === wanted) found += deeper.length === 0 ? 1 : count(bytes.subarray(at, end), deeper);
    at = end;
  }
  return found;
};

export const spansIn = (request: Buffer): number => count(request, PATH);
