// Interned header names: a small integer for every name the mesh knows, found by a hash over lower-cased bytes
// while the name is read, so that looking at `content-length` never makes a string. Unknown names have id 0 and
// are told apart by their bytes. The table is fixed at load; nothing is learnt from traffic.

const NAMES = [
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'date',
  'server',
  'via',
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'content-range',
  'accept',
  'accept-encoding',
  'accept-language',
  'accept-charset',
  'accept-ranges',
  'user-agent',
  'referer',
  'origin',
  'cookie',
  'set-cookie',
  'cache-control',
  'pragma',
  'expires',
  'age',
  'etag',
  'last-modified',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'range',
  'vary',
  'location',
  'allow',
  'authorization',
  'proxy-authorization',
  'proxy-authenticate',
  'www-authenticate',
  'retry-after',
  'forwarded',
  'link',
  'strict-transport-security',
  'upgrade-insecure-requests',
  'http2-settings',
  'sec-websocket-key',
  'sec-websocket-accept',
  'sec-websocket-version',
  'sec-websocket-protocol',
  'sec-websocket-extensions',
  'access-control-allow-origin',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-allow-credentials',
  'access-control-expose-headers',
  'access-control-max-age',
  'access-control-request-method',
  'access-control-request-headers',
  'x-request-id',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-client-cert',
  'x-real-ip',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-envoy-degraded',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-force-trace',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-immediate-health-check-fail',
  'x-envoy-internal',
  'x-envoy-ip-tags',
  'x-envoy-is-timeout-retry',
  'x-envoy-max-retries',
  'x-envoy-original-host',
  'x-envoy-original-path',
  'x-envoy-original-url',
  'x-envoy-overloaded',
  'x-envoy-peer-metadata',
  'x-envoy-peer-metadata-id',
  'x-envoy-ratelimited',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
  'x-envoy-retry-grpc-on',
  'x-envoy-retry-on',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-canary',
  'x-envoy-upstream-healthchecked-cluster',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-service-time',
  'x-envoy-upstream-stream-duration-ms',
  'traceparent',
  'tracestate',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'x-client-trace-id',
  'baggage',
  'grpc-status',
  'grpc-message',
  'grpc-timeout',
  'grpc-encoding',
  'grpc-accept-encoding',
  'grpc-status-details-bin',
] as const;

type Upper<S extends string> = S extends `${infer A}-${infer B}` ? `${Uppercase<A>}_${Upper<B>}` : Uppercase<S>;
type KnownName = (typeof NAMES)[number];

/** Ids by name in upper case with underscores: `H.CONTENT_LENGTH`. All are > 0. */
export const H = Object.fromEntries(NAMES.map((name, i) => [name.toUpperCase().replaceAll('-', '_'), i + 1])) as {
  readonly [K in KnownName as Upper<K>]: number;
};

/** One more than the largest id: the length of a table indexed by id. */
export const NAME_ID_COUNT = NAMES.length + 1;

const idOfName: ReadonlyMap<string, number> = new Map(NAMES.map((name, i) => [name, i + 1]));
const nameOfIds: readonly string[] = ['', ...NAMES];
const bytesOfIds: readonly Buffer[] = nameOfIds.map((name) => Buffer.from(name, 'latin1'));

/** Id of a lower-case name; 0 when it is not a known one. */
export const nameId = (lowerCaseName: string): number => idOfName.get(lowerCaseName) ?? 0;

/** The name of a known id; '' for 0. */
export const nameOfId = (id: number): string => nameOfIds[id] ?? '';

/** The name's bytes, lower case. Not to be changed. */
export const bytesOfId = (id: number): Buffer => bytesOfIds[id] as Buffer;

/** Start value and step of the hash a reader keeps over a name's lower-cased bytes: `hash = hashStep(hash, byte)`. */
export const HASH_SEED = 0x811c9dc5 | 0;
export const hashStep = (hash: number, lowerByte: number): number => Math.imul(hash ^ lowerByte, 0x01000193);

const SLOTS = 1024;
const slots = new Int16Array(SLOTS);
for (let id = 1; id < NAME_ID_COUNT; id++) {
  let hash = HASH_SEED;
  for (const byte of bytesOfId(id)) hash = hashStep(hash, byte);
  let slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
  while (slots[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
  slots[slot] = id;
}

/**
 * Id of the lower-cased name at [start, end) whose hash the reader kept. Bytes are compared, so a crafted collision
 * costs a few probes and never a wrong id.
 */
export const idOfBytes = (buf: Uint8Array, start: number, end: number, hash: number): number => {
  let slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
  for (;;) {
    const id = slots[slot] as number;
    if (id === 0) return 0;
    const known = bytesOfIds[id] as Buffer;
    if (known.length === end - start) {
      let i = 0;
      while (i < known.length && known[i] === buf[start + i]) i++;
      if (i === known.length) return id;
    }
    slot = (slot + 1) & (SLOTS - 1);
  }
};
