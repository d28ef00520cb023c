// What a request has of an attribute that rules ask for, to be shown beside what was asked. Never decides anything.

import type { JsonObject, JsonValue } from '../xds/gen/types.ts';
import type { AskedRequest } from './asked-request.ts';

const SPIFFE = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/(.+)$/;
const HEADERS = 'request.headers[';
const CLAIMS = 'request.auth.claims[';
const JWT_FILTER = 'envoy.filters.http.jwt_authn';
const SHOWN_MAX = 200;

/** `key`: a field of a source or operation without its `not`, or the key of a condition. Undefined: the request has none. */
export const attributeValue = (key: string, asked: AskedRequest): string | undefined => {
  const of = READERS[key];
  if (of !== undefined) return shown(of(asked));
  if (key.startsWith(HEADERS) && key.endsWith(']'))
    return shown(
      secretHeader(key) ? hidden(asked, key) : asked.request?.headers.values(key.slice(HEADERS.length, -1).toLowerCase()).join(','),
    );
  if (key.startsWith(CLAIMS) && key.endsWith(']')) return shown(text(claimAt(asked, key.slice(CLAIMS.length, -1).split(']['))));
  return undefined;
};

const shown = (value: string | undefined): string | undefined =>
  value === undefined || value === '' ? undefined : value.length > SHOWN_MAX ? `${value.slice(0, SHOWN_MAX)}…` : value;

/** What carries credentials is told to be there, no more. */
const secretHeader = (key: string): boolean => /authorization|cookie|token|secret|api-?key|password/i.test(key);
const hidden = (asked: AskedRequest, key: string): string | undefined =>
  asked.request?.headers.has(key.slice(HEADERS.length, -1).toLowerCase()) === true ? '(not shown)' : undefined;

const identity = (asked: AskedRequest, part: 1 | 2 | 3): string | undefined => SPIFFE.exec(asked.spiffe ?? '')?.[part];

const principal = (asked: AskedRequest): string | undefined => asked.spiffe?.replace(/^spiffe:\/\//, '');

const payload = (asked: AskedRequest): JsonObject | undefined => {
  const value = (asked.dynamicMetadata[JWT_FILTER] as JsonObject | undefined)?.['payload'];
  return isObject(value) ? value : undefined;
};

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const claimAt = (asked: AskedRequest, path: readonly string[]): JsonValue | undefined => {
  let at: JsonValue | undefined = payload(asked);
  for (const key of path) at = isObject(at) ? at[key] : undefined;
  return at;
};

const text = (value: JsonValue | undefined): string | undefined =>
  value === undefined ? undefined : typeof value === 'string' ? value : JSON.stringify(value);

const requestPrincipal = (asked: AskedRequest): string | undefined => {
  const claims = payload(asked);
  return claims === undefined ? undefined : `${text(claims['iss']) ?? ''}/${text(claims['sub']) ?? ''}`;
};

const serviceAccount = (asked: AskedRequest): string | undefined => {
  const namespace = identity(asked, 2);
  return namespace === undefined ? undefined : `${namespace}/${identity(asked, 3)}`;
};

type Reader = (asked: AskedRequest) => string | undefined;
const port: Reader = (asked) => String(asked.localPort);

const READERS: Readonly<Record<string, Reader>> = {
  principals: principal,
  'source.principal': principal,
  requestPrincipals: requestPrincipal,
  'request.auth.principal': requestPrincipal,
  'request.auth.audiences': (asked) => text(claimAt(asked, ['aud'])),
  'request.auth.presenter': (asked) => text(claimAt(asked, ['azp'])),
  namespaces: (asked) => identity(asked, 2),
  'source.namespace': (asked) => identity(asked, 2),
  serviceAccounts: serviceAccount,
  'source.serviceAccount': serviceAccount,
  trustDomains: (asked) => identity(asked, 1),
  'source.trustDomain': (asked) => identity(asked, 1),
  ipBlocks: (asked) => asked.directRemoteIp,
  'source.ip': (asked) => asked.directRemoteIp,
  remoteIpBlocks: (asked) => asked.remoteIp,
  'remote.ip': (asked) => asked.remoteIp,
  hosts: (asked) => asked.request?.authority,
  methods: (asked) => asked.request?.method,
  paths: (asked) => asked.request?.path.replace(/\?.*$/s, ''),
  ports: port,
  'destination.port': port,
  'destination.ip': (asked) => asked.localIp,
  'connection.sni': (asked) => asked.sni,
};
