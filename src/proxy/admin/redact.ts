// Envoy's redaction of configuration dumps: everything below a field that Envoy's protos mark sensitive reads
// "[redacted]". Copies; what it is given stays as it is.

/** Field names that are marked `udpa.annotations.sensitive` in the messages that Skein compiles. */
const SENSITIVE = new Set(['private_key', 'password', 'pkcs12', 'private_key_provider']);
/** Sensitive only in one message. */
const SENSITIVE_IN: { readonly [parent: string]: ReadonlySet<string> } = {
  session_ticket_keys: new Set(['keys']),
  generic_secret: new Set(['secret', 'secrets']),
};

export const REDACTED = '[redacted]';
const REDACTED_BYTES = new Uint8Array(Buffer.from(REDACTED));

export const redact = <T>(value: T): T => walk(value, '', false) as T;

const walk = (value: unknown, parent: string, hide: boolean): unknown => {
  if (value instanceof Uint8Array) return hide ? REDACTED_BYTES : value;
  if (typeof value === 'string') return hide ? REDACTED : value;
  if (Array.isArray(value)) return value.map((v) => walk(v, parent, hide));
  if (typeof value !== 'object' || value === null) return hide ? undefined : value;
  const out: Record<string, unknown> = {};
  for (const [key, v] of Object.entries(value)) {
    const sensitive = hide || SENSITIVE.has(key) || (SENSITIVE_IN[parent]?.has(key) ?? false);
    out[key] = key === '@type' ? v : walk(v, key, sensitive);
  }
  return out;
};
