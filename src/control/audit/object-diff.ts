// What changed between two versions of an object, field by field, for people who were not there. Never a secret: values of Secrets, keys,
// tokens, passwords and what looks like them are told to have changed, and no more.

export interface FieldChange {
  readonly path: string;
  /** Absent: the field was not there. */
  readonly before?: string;
  readonly after?: string;
}

const CHANGES_MAX = 100;
const VALUE_CHARS_MAX = 200;
const LEAVES_MAX = 20_000;

const HIDDEN = '(not shown)';

/** Fields that hold secrets, or may: whole subtrees. */
const SECRET_FIELD =
  /^(data|stringData|binaryData|jwks|inline_?string|inline_?bytes|password|passwd|passphrase|secret|client_?secret|secret_?key|private_?key|token|access_?token|api_?key|authorization|proxy-authorization|cookie|set-cookie|x-api-key|env|kubectl\.kubernetes\.io\/last-applied-configuration)$/i;
const SECRET_WORD = /password|secret(?!name$)|token|api[-_]?key|private[-_]?key|authorization|cookie|credential(?!name$)/i;
/** `{key: 'request.headers[x-api-key]', values: […]}`: what a field of this object says makes these secret. */
const NAMING = ['key', 'name', 'header'] as const;
const NAMED = new Set(['value', 'values', 'notValues', 'exact', 'prefix', 'suffix', 'regex']);
const SECRET_VALUE =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.|\b(bearer|basic)\s+\S{8,}|"(d|p|q|dp|dq|qi|k)"\s*:\s*"[A-Za-z0-9_-]{16,}"|:\/\/[^/\s:@]+:[^/\s@]+@/i;

type Leaves = Map<string, { readonly shown: string; readonly exact: string }>;

/** `kind` decides too: everything in a Secret is one. `before` or `after` undefined: created or deleted. */
export const diffObjects = (
  kind: string,
  before: unknown,
  after: unknown,
): { readonly diff: readonly FieldChange[]; readonly more: number } => {
  const [old, now] = [leaves(kind, before), leaves(kind, after)];
  const changes: FieldChange[] = [];
  let more = 0;
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    const [a, b] = [old.get(path), now.get(path)];
    if (a?.exact === b?.exact) continue;
    if (changes.length >= CHANGES_MAX) {
      more++;
      continue;
    }
    changes.push({ path, ...(a === undefined ? {} : { before: a.shown }), ...(b === undefined ? {} : { after: b.shown }) });
  }
  return { diff: changes, more };
};

const leaves = (kind: string, value: unknown): Leaves => {
  const out: Leaves = new Map();
  collect(value, '', kind === 'Secret' || kind === 'ConfigMap', out);
  return out;
};

const collect = (value: unknown, path: string, hidden: boolean, out: Leaves): void => {
  if (value === undefined || out.size >= LEAVES_MAX) return;
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    if (Array.isArray(value)) for (const [i, v] of value.entries()) collect(v, `${path}[${i}]`, hidden, out);
    else collectFields(value as Readonly<Record<string, unknown>>, path, hidden, out);
    return;
  }
  const exact = JSON.stringify(value);
  const shown =
    typeof value !== 'boolean' && (hidden || SECRET_VALUE.test(typeof value === 'string' ? value : exact)) ? HIDDEN : short(exact);
  out.set(path, { exact, shown });
};

const collectFields = (value: Readonly<Record<string, unknown>>, path: string, hidden: boolean, out: Leaves): void => {
  const named = NAMING.some((field) => typeof value[field] === 'string' && SECRET_WORD.test(value[field]));
  for (const [key, v] of Object.entries(value)) {
    const secret = hidden || SECRET_FIELD.test(key) || SECRET_WORD.test(key) || (named && NAMED.has(key));
    collect(v, path === '' ? key : `${path}.${key}`, secret, out);
  }
};

const short = (text: string): string => (text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}…` : text);
