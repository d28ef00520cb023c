// What of a request nobody is shown: credentials in headers and in the query of a path. Names stay, values go. Always the same list, to
// which whoever taps may add and from which nobody may take away.

export const HIDDEN = '[redacted]';

const HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'x-auth-token',
  'x-csrf-token',
  'x-xsrf-token',
  'x-amz-security-token',
  'x-goog-iap-jwt-assertion',
  // Holds whole certificates, and a peer's own header may hold anything.
  'x-forwarded-client-cert',
]);
/** Words of a name that says it carries a credential: `access_token`, `X-Session-Secret`. */
const SECRET_WORD =
  /(?:^|[^a-z])(?:access[_-]?token|api[_-]?key|auth|code|credentials?|jwt|key|pass(?:word|wd)?|secret|session|sid|sig(?:nature)?|token)(?:$|[^a-z])/;
const SECRET_HEADER = /token|secret|passw|credential|api-?key|signature|session/;
/** A JWT or a bearer value, wherever it stands. */
const SECRET_VALUE = /\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\b(?:bearer|basic)\s+\S+/gi;

export interface Redaction {
  header(name: string, value: string): string;
  /** Of a path with its query. */
  path(path: string): string;
}

export const redaction = (extra: { readonly headers: readonly string[]; readonly query: readonly string[] }): Redaction => {
  const headers = new Set(extra.headers);
  const query = new Set(extra.query);
  return {
    header: (name, value) => {
      if (HEADERS.has(name) || headers.has(name) || SECRET_HEADER.test(name)) return HIDDEN;
      return name === 'referer' || name === 'location' || name === ':path' || name === 'x-envoy-original-path'
        ? redactPath(value, query)
        : value.replace(SECRET_VALUE, HIDDEN);
    },
    path: (path) => redactPath(path, query),
  };
};

const redactPath = (path: string, extra: ReadonlySet<string>): string => {
  const at = path.indexOf('?');
  const plain = path.replace(SECRET_VALUE, HIDDEN);
  if (at < 0) return plain;
  const query = path
    .slice(at + 1)
    .split('&')
    .map((pair) => {
      const equals = pair.indexOf('=');
      if (equals < 0) return pair.replace(SECRET_VALUE, HIDDEN);
      const name = pair.slice(0, equals);
      const plainName = decoded(name).toLowerCase();
      const hidden = extra.has(plainName) || SECRET_WORD.test(plainName) || SECRET_WORD.test(snake(decoded(name)));
      return hidden ? `${name}=${HIDDEN}` : `${name}=${pair.slice(equals + 1).replace(SECRET_VALUE, HIDDEN)}`;
    });
  return `${path.slice(0, at).replace(SECRET_VALUE, HIDDEN)}?${query.join('&')}`;
};

/** `accessToken` as `access_token`. */
const snake = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

const decoded = (name: string): string => {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
};
