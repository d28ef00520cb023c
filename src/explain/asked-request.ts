// A request, or a connection, that somebody asks about, as authorization sees it: the view that compiled policies are given. What is not
// said is assumed, and every assumption is written down.

import type { AuthzView } from '../plan/authz/authz-view.ts';
import type { RequestView } from '../plan/request-view.ts';
import type { CertificateFacts, TlsFacts } from '../plan/stream-info.ts';
import { HeaderBlock } from '../wire/header-block.ts';
import type { JsonObject } from '../xds/gen/types.ts';

/** As it comes from a command line or the admin API; every field is checked in `readQuery`. */
export interface AuthzQuery {
  /** A workload. */
  readonly from?: string;
  readonly principal?: string;
  /** With `namespace` stands for a principal of the mesh's trust domain. */
  readonly serviceAccount?: string;
  readonly namespace?: string;
  readonly ip?: string;
  /** No mutual TLS. */
  readonly plaintext?: boolean;
  readonly to: string;
  readonly tcp?: boolean;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly sni?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of a token that is taken for valid. */
  readonly claims?: JsonObject;
  /** A token itself: it is verified. */
  readonly token?: string;
}

const TEXTS = ['from', 'principal', 'serviceAccount', 'namespace', 'ip', 'to', 'method', 'path', 'host', 'sni', 'token'] as const;
const SWITCHES = ['plaintext', 'tcp'] as const;
export const QUERY_FIELDS: readonly string[] = [...TEXTS, ...SWITCHES, 'headers', 'claims'];

/** What is wrong with a query, or nothing. */
export const queryProblem = (query: Readonly<Record<string, unknown>>): string | undefined => {
  for (const field of TEXTS) if (query[field] !== undefined && typeof query[field] !== 'string') return `${field} must be a text`;
  for (const field of SWITCHES)
    if (query[field] !== undefined && typeof query[field] !== 'boolean') return `${field} must be true or false`;
  if (typeof query['to'] !== 'string' || query['to'] === '') return 'to must name a service or a workload';
  for (const field of ['headers', 'claims']) if (query[field] !== undefined && !isRecord(query[field])) return `${field} must be an object`;
  const { headers } = query;
  if (isRecord(headers) && Object.values(headers).some((v) => typeof v !== 'string')) return 'headers must be texts';
  return undefined;
};

const isRecord = (v: unknown): v is Readonly<Record<string, unknown>> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** All that is known of it once both ends are found. */
export interface RequestFacts {
  /** undefined: plain text. */
  readonly spiffe: string | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly sni: string;
  readonly tcp: boolean;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers: Readonly<Record<string, string>>;
}

export class AskedRequest implements AuthzView {
  readonly request: RequestView | undefined;
  readonly localIp: string;
  readonly localPort: number;
  readonly sourceIp: string;
  readonly directRemoteIp: string;
  readonly remoteIp: string;
  readonly sni: string;
  readonly tls: TlsFacts | undefined;
  readonly routeMetadata: JsonObject | undefined;
  readonly filterState: { readonly [key: string]: unknown } = {};
  /** As filters leave it. */
  dynamicMetadata: JsonObject = {};
  readonly spiffe: string | undefined;

  /** `path` and `remoteIp`: as the connection manager makes them. */
  constructor(facts: RequestFacts, path: string, remoteIp: string) {
    this.spiffe = facts.spiffe;
    this.localIp = facts.destinationIp;
    this.localPort = facts.destinationPort;
    this.sourceIp = facts.sourceIp;
    this.directRemoteIp = facts.sourceIp;
    const { tcp, method, host, headers } = facts;
    this.remoteIp = remoteIp;
    this.sni = facts.sni;
    this.tls = facts.spiffe === undefined ? undefined : tlsOf(facts.spiffe);
    this.routeMetadata = tcp ? undefined : {};
    const block = new HeaderBlock();
    for (const [name, value] of Object.entries(headers)) block.add(name.toLowerCase(), value);
    this.request = tcp
      ? undefined
      : {
          method,
          path,
          authority: host,
          scheme: 'http',
          headers: block,
          tls: this.tls === undefined ? undefined : { presented: true, validated: true },
          sourceIp: this.remoteIp,
        };
  }
}

const tlsOf = (spiffe: string): TlsFacts => ({
  version: 'TLSv1.3',
  cipher: '',
  sessionId: '',
  peer: certificateOf(spiffe),
  local: undefined,
  validated: true,
});

const certificateOf = (spiffe: string): CertificateFacts => ({
  subject: '',
  issuer: '',
  uriSans: [spiffe],
  dnsSans: [],
  ipSans: [],
  emailSans: [],
  serial: '',
  sha256Fingerprint: '',
  sha1Fingerprint: '',
  pem: '',
  notBefore: 0,
  notAfter: 0,
});
