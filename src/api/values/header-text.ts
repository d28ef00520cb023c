// Header names and header values as the API takes them: names of matches, names and values of header operations.

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const controls = /[\u0000-\u0008\u000A-\u001F\u007F]/;

const notValid = (name: string): string => `header name ${JSON.stringify(name)} is not a valid header name`;

/** A field name, or `*` where CORS lists names. */
export const checkCorsHeaderName = (name: string): string | undefined =>
  name === '*' || token.test(name) ? undefined : name === '' ? 'header name cannot be empty' : notValid(name);

/** Names of headers that a policy writes claims to. */
export const checkStrictHeaderName = (name: string): string | undefined => (/^[-_A-Za-z0-9]+$/.test(name) ? undefined : notValid(name));

/** The claim path of `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`; undefined for other names. */
export const routingClaim = (name: string): string[] | undefined => {
  const prefix = '@request.auth.claims';
  if (name.slice(0, prefix.length).toLowerCase() !== prefix) return undefined;
  const rest = name.slice(prefix.length);
  if (rest.length > 2 && rest.startsWith('[') && rest.endsWith(']')) return rest.slice(1, -1).split('][');
  return rest.startsWith('.') && rest.length > 1 ? rest.slice(1).split('.') : undefined;
};

/** Names in `match.headers`: a field name, a pseudo header, or a claim. */
export const checkMatchHeaderName = (name: string): string | undefined => {
  if (name === '') return 'header name cannot be empty';
  if (routingClaim(name) !== undefined) return undefined;
  return token.test(name.startsWith(':') ? name.slice(1) : name) ? undefined : notValid(name);
};

export const isAuthorityHeader = (name: string): boolean => /^(?::authority|host)$/i.test(name);

/** Names that `headers.request.set` and `.add` may touch: the authority, and no other pseudo header. */
export const checkRequestHeaderName = (name: string): string | undefined => {
  if (isAuthorityHeader(name)) return undefined;
  return checkHeaderOperationName(name);
};

/** Names that other operations may touch. */
export const checkHeaderOperationName = (name: string): string | undefined => {
  if (name === '') return 'header name cannot be empty';
  if (name.toLowerCase() === 'host') return `invalid header ${JSON.stringify(name)}: cannot set Host header`;
  if (name.startsWith(':')) return `invalid header ${JSON.stringify(name)}: header cannot have ":" prefix`;
  return token.test(name) ? undefined : notValid(name);
};

/**
 * A header value with Envoy's `%VARIABLE(arguments)%`; `%%` is a percent sign. Only the form is checked, as in Istio: which
 * variables exist is the proxy's business.
 */
export const checkHeaderValue = (value: string): string | undefined => {
  if (controls.test(value)) return `header value ${JSON.stringify(value)} has control characters`;
  let at = 0;
  while (at < value.length) {
    const percent = value.indexOf('%', at);
    if (percent === -1) return undefined;
    if (value[percent + 1] === '%') {
      at = percent + 2;
      continue;
    }
    const end = endOfVariable(value, percent + 1);
    if (end === -1) return `header value ${JSON.stringify(value)} has an unescaped or unfinished "%"; write "%%" for a percent sign`;
    at = end;
  }
  return undefined;
};

/** Index behind the closing `%` of a variable whose name starts at `at`, or -1. */
const endOfVariable = (value: string, at: number): number => {
  let index = at;
  while (index < value.length && value[index] !== '%' && value[index] !== '(') index++;
  if (value[index] === '%') return index + 1;
  if (value[index] !== '(') return -1;
  const close = endOfArguments(value, index + 1);
  if (close === -1) return -1;
  let after = close;
  while (value[after] === ' ') after++;
  return value[after] === '%' ? after + 1 : -1;
};

/** Arguments are raw text up to `)`, or a JSON list of strings. Index behind the closing bracket, or -1. */
const endOfArguments = (value: string, at: number): number => {
  const list = /^ *\[(?: *"(?:[^"\\]|\\.)*"(?: *, *"(?:[^"\\]|\\.)*")*)? *\] *\)/.exec(value.slice(at));
  if (list) return at + list[0].length;
  if (value.slice(at).trimStart().startsWith('[')) return -1;
  const raw = /^(?:[^)\\]|\\.)*\)/.exec(value.slice(at));
  return raw ? at + raw[0].length : -1;
};
