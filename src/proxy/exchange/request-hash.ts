// The hash policy value of a request: what Envoy's policies hash, combined as Envoy combines them, so a key keeps its host when one
// proxy takes the other's place.

import { queryParameter } from '../../plan/query.ts';
import type { RequestView } from '../../plan/request-view.ts';
import type { HashPolicyPlan } from '../../plan/route.ts';
import { xxHash64 } from '../xx-hash64.ts';

export interface HashedRequest extends RequestView {
  /** The trusted client address. */
  readonly sourceIp: string;
}

/**
 * undefined: no policy finds anything to hash. `connection` names the client's connection: cookies made for it are the same
 * until it ends. `setCookie` gets the set-cookie values that the response must carry.
 */
export const requestHash = (
  policies: readonly HashPolicyPlan[],
  request: HashedRequest,
  connection: string,
  setCookie: (line: string) => void,
): bigint | undefined => {
  let hash: bigint | undefined;
  for (const policy of policies) {
    const found = hashOf(policy, request, connection, setCookie);
    if (found !== undefined) hash = hash === undefined ? found : rotated(hash) ^ found;
    if (policy.terminal && hash !== undefined) break;
  }
  return hash;
};

// Two policies that find the same value must not cancel each other out.
const rotated = (hash: bigint): bigint => BigInt.asUintN(64, hash << 1n) | (hash >> 63n);

const hashOf = (
  policy: HashPolicyPlan,
  request: HashedRequest,
  connection: string,
  setCookie: (line: string) => void,
): bigint | undefined => {
  switch (policy.kind) {
    case 'header':
      return hashOfHeader(policy, request);
    case 'cookie': {
      const sent = cookieValue(request.headers.values('cookie'), policy.name);
      if (sent !== '') return xxHash64(sent);
      if (policy.ttlMs === undefined) return undefined;
      const made = xxHash64(connection).toString(16).padStart(16, '0');
      setCookie(setCookieLine(policy, made));
      return xxHash64(made);
    }
    case 'source-ip':
      return request.sourceIp === '' ? undefined : xxHash64(request.sourceIp);
    case 'query': {
      const value = queryParameter(request.path, policy.name);
      return value === undefined ? undefined : xxHash64(value);
    }
    case 'filter-state':
      return undefined; // no filter here leaves an object that can be hashed
  }
};

const hashOfHeader = (policy: HashPolicyPlan & { kind: 'header' }, request: HashedRequest): bigint | undefined => {
  const { rewrite } = policy;
  let values = valuesOf(policy.name, request);
  if (values.length === 0) return undefined;
  if (rewrite !== undefined) values = values.map((value) => rewrite(value));
  // In order of their bytes: the order they were sent in does not matter.
  if (values.length > 1) values = values.toSorted();
  return values.reduce((seed, value) => xxHash64(value, seed), 0n);
};

const valuesOf = (name: string, request: HashedRequest): string[] => {
  switch (name) {
    case ':authority':
    case 'host':
      return [request.authority];
    case ':path':
      return [request.path];
    case ':method':
      return [request.method];
    case ':scheme':
      return [request.scheme];
    default:
      return request.headers.values(name);
  }
};

/** First value of a cookie over all Cookie headers, without quotes; '' when there is none. */
const cookieValue = (headers: readonly string[], name: string): string => {
  for (const header of headers)
    for (const pair of header.split(';')) {
      const equals = pair.indexOf('=');
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  return '';
};

const setCookieLine = (policy: HashPolicyPlan & { kind: 'cookie' }, value: string): string => {
  const seconds = Math.floor((policy.ttlMs ?? 0) / 1000);
  const parts = [`${policy.name}="${value}"`];
  if (seconds > 0) parts.push(`Max-Age=${seconds}`);
  if (policy.path !== '') parts.push(`Path=${policy.path}`);
  for (const { name, value: text } of policy.attributes) parts.push(text === '' ? name : `${name}=${text}`);
  parts.push('HttpOnly');
  return parts.join('; ');
};
