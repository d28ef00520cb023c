// What the connection manager makes of a request path before anything decides on it: dot segments, escapes of
// unreserved characters, doubled and escaped slashes, fragments. The query is never touched.
import type { HttpConnectionManager } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';

export interface PathPolicy {
  readonly normalize: boolean;
  readonly mergeSlashes: boolean;
  readonly escapedSlashes: 'keep' | 'reject' | 'unescape-redirect' | 'unescape-forward';
}
export type PathDecision = { readonly kind: 'reject' } | { readonly kind: 'redirect'; readonly path: string };

const ESCAPED_SLASHES: Readonly<Record<string, PathPolicy['escapedSlashes']>> = {
  IMPLEMENTATION_SPECIFIC_DEFAULT: 'keep',
  KEEP_UNCHANGED: 'keep',
  REJECT_REQUEST: 'reject',
  UNESCAPE_AND_REDIRECT: 'unescape-redirect',
  UNESCAPE_AND_FORWARD: 'unescape-forward',
};

export const compilePathPolicy = (hcm: HttpConnectionManager): PathPolicy => {
  if (hcm.path_normalization_options !== undefined) throw new PlanError('path_normalization_options', 'is not supported');
  const action = ESCAPED_SLASHES[hcm.path_with_escaped_slashes_action ?? 'IMPLEMENTATION_SPECIFIC_DEFAULT'];
  if (action === undefined) throw new PlanError('path_with_escaped_slashes_action', `${hcm.path_with_escaped_slashes_action} is not known`);
  return { normalize: hcm.normalize_path === true, mergeSlashes: hcm.merge_slashes === true, escapedSlashes: action };
};

const REJECT: PathDecision = { kind: 'reject' };

/**
 * The path to go on with, or what to answer instead: 400 `path_normalization_failed`, or 307 to `path`.
 * The same string when nothing changes. A fragment is refused (Envoy's default): no honest client sends one.
 */
export const normalizedPath = (policy: PathPolicy, path: string): string | PathDecision => {
  if (path.includes('#')) return REJECT;
  if (path.charCodeAt(0) !== 47) return path; // `*`, CONNECT
  const mark = path.indexOf('?');
  const original = mark < 0 ? path : path.slice(0, mark);
  const query = mark < 0 ? '' : path.slice(mark);
  let bare = original;
  let redirect = false;
  if (policy.escapedSlashes !== 'keep' && ESCAPED_SLASH.test(bare)) {
    if (policy.escapedSlashes === 'reject') return REJECT;
    bare = bare.replace(/%2f/gi, '/').replace(/%5c/gi, '\\');
    redirect = policy.escapedSlashes === 'unescape-redirect';
  }
  if (policy.normalize && NEEDS_NORMALIZING.test(bare)) {
    const normal = removeDots(bare);
    if (normal === undefined) return REJECT;
    bare = normal;
  }
  if (policy.mergeSlashes && bare.includes('//')) bare = bare.replace(/\/{2,}/g, '/');
  if (bare === original) return path;
  return redirect ? { kind: 'redirect', path: bare + query } : bare + query;
};

const ESCAPED_SLASH = /%(?:2f|5c)/i;
/** Whatever a normaliser could change: dot segments, backslashes, percent escapes, characters that are escaped. */
const NEEDS_NORMALIZING = /[%\\"<>^`{|}]|\/\./;
/** A dot segment with parameters, which some servers take for one without (`/a/..;x/b`). Not where dots or `;` are escaped. */
const DOTS_WITH_PARAMETERS = /\/(\.\.?);[^/]*/g;
const NEVER_BARE = /["<>^`{|}]/g;
/** Stands for a `%` that begins no escape, once that character is escaped everywhere. */
const LONE = '^';

/** RFC 3986 6.2.2, `\` read as `/` as browsers do. A `%` that begins no escape stays, and must not begin one. undefined: an escaped NUL. */
const removeDots = (path: string): string | undefined => {
  const plain = path.includes(';') ? path.replace(DOTS_WITH_PARAMETERS, '/$1') : path;
  if (plain.includes('%00')) return undefined;
  const decoded = plain
    .replace(NEVER_BARE, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%([0-9a-fA-F]{2})?/g, (triplet: string, hex: string | undefined) => {
      if (hex === undefined) return LONE;
      const c = String.fromCharCode(Number.parseInt(hex, 16));
      return /[A-Za-z0-9._~-]/.test(c) ? c : triplet;
    })
    .replace(/\^([0-9a-fA-F]{2})?/g, (_, hex: string | undefined) => (hex === undefined ? '%' : `%25${hex}`));
  const out: string[] = [];
  const segments = decoded.replaceAll('\\', '/').split('/').slice(1);
  segments.forEach((segment, i) => {
    const last = i === segments.length - 1;
    if (segment === '..') out.pop();
    else if (segment !== '.') out.push(segment);
    if (last && (segment === '.' || segment === '..')) out.push('');
  });
  return `/${out.join('/')}`;
};
