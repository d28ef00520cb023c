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
/** Whatever a normaliser could change: dot segments, backslashes, percent escapes. */
const NEEDS_NORMALIZING = /[%\\]|\/\./;

/** RFC 3986 6.2.2, and `\` read as `/` as browsers do. Escapes that are none stay. undefined: an escaped NUL. */
const removeDots = (path: string): string | undefined => {
  if (path.includes('%00')) return undefined;
  const decoded = path.replace(/%[0-9a-fA-F]{2}/g, (triplet) => {
    const c = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
    return /[A-Za-z0-9._~-]/.test(c) ? c : triplet;
  });
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
