// What an authorization server is told of a request or a connection: the attributes of a CheckRequest.

import type { CertificateFacts } from '../../plan/stream-info.ts';
import type { TextMatch } from '../../plan/string-matcher.ts';
import type { Address, AttributeContext, AttributeContext_Peer, HeaderValue, JsonObject, Metadata } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import type { FilterExchange, RequestBody } from './http-filter.ts';

export interface CheckPlan {
  readonly includeCertificate: boolean;
  readonly includeTlsSession: boolean;
}

export interface HttpCheckPlan extends CheckPlan {
  /** undefined: all. */
  readonly allowedHeaders: TextMatch | undefined;
  readonly disallowedHeaders: TextMatch | undefined;
  readonly rawHeaders: boolean;
  readonly metadataNamespaces: readonly string[];
  readonly routeMetadataNamespaces: readonly string[];
}

/** What has come of the body and goes with the question. */
export interface CheckBody {
  readonly body: RequestBody;
  readonly bytesMax: number;
  readonly asBytes: boolean;
}

export const httpAttributes = (
  plan: HttpCheckPlan,
  exchange: FilterExchange,
  extensions: Readonly<Record<string, string>>,
  asked: CheckBody | undefined,
): AttributeContext => {
  const { facts, info, requestHeaders } = exchange;
  const headers: Record<string, string> = Object.create(null);
  const raw: HeaderValue[] = [];
  const tell = (name: string, value: string): void => {
    if (plan.disallowedHeaders?.(name) === true || plan.allowedHeaders?.(name) === false) return;
    if (plan.rawHeaders) raw.push({ key: name, raw_value: Buffer.from(value, 'latin1') });
    else headers[name] = headers[name] === undefined ? utf8(value) : `${headers[name]},${utf8(value)}`;
  };
  tell(':authority', exchange.authority);
  tell(':path', exchange.path);
  tell(':method', exchange.method);
  tell(':scheme', exchange.scheme);
  for (const [name, value] of requestHeaders.entries()) if (name !== PARTIAL && name !== 'host') tell(name, value);
  const body = asked === undefined || asked.body.bytes === 0 ? undefined : bodyOf(asked);
  if (body !== undefined) {
    if (plan.rawHeaders) raw.push({ key: PARTIAL, raw_value: Buffer.from(body.partial) });
    else headers[PARTIAL] = body.partial;
  }
  const service = requestHeaders.get('x-envoy-downstream-service-cluster');
  return {
    source: { ...sourceOf(plan, facts), ...(service === undefined ? {} : { service: utf8(service) }) },
    destination: destinationOf(facts),
    request: {
      time: new Date(info.startTime).toISOString(),
      http: {
        id: String(Math.floor(exchange.random() * Number.MAX_SAFE_INTEGER)),
        method: exchange.method,
        ...(plan.rawHeaders ? { header_map: { headers: raw } } : { headers }),
        path: utf8(exchange.path),
        host: utf8(exchange.authority),
        scheme: exchange.scheme,
        protocol: info.protocol,
        ...body?.fields,
      },
    },
    context_extensions: extensions,
    metadata_context: chosen(plan.metadataNamespaces, info.dynamicMetadata),
    route_metadata_context: chosen(plan.routeMetadataNamespaces, info.routeMetadata?.filter_metadata),
    ...tlsSession(plan, facts),
  };
};

export const connectionAttributes = (plan: CheckPlan, facts: DownstreamFacts): AttributeContext => ({
  source: sourceOf(plan, facts),
  destination: destinationOf(facts),
  ...tlsSession(plan, facts),
});

/** Tells whether the server saw all of the body. */
const PARTIAL = 'x-envoy-auth-partial-body';

const bodyOf = ({ body, bytesMax, asBytes }: CheckBody) => {
  const all = Buffer.concat([...body.pieces]);
  const told = all.subarray(0, bytesMax);
  return {
    partial: told.length < all.length ? 'true' : 'false',
    fields: { size: all.length, ...(asBytes ? { raw_body: told } : { body: utf8(told.toString('latin1')) }) },
  };
};

const sourceOf = (plan: CheckPlan, facts: DownstreamFacts): AttributeContext_Peer => {
  const peer = facts.tls?.peer;
  return {
    address: addressOf(facts.remoteIp, facts.remotePort),
    ...(peer === undefined ? {} : { principal: principalOf(peer) }),
    ...(peer !== undefined && plan.includeCertificate ? { certificate: peer.pem } : {}),
  };
};

const destinationOf = (facts: DownstreamFacts): AttributeContext_Peer => {
  const own = facts.tls?.local;
  const principal = own === undefined ? facts.localUri : principalOf(own);
  return { address: addressOf(facts.localIp, facts.localPort), ...(facts.tls === undefined || principal === '' ? {} : { principal }) };
};

const principalOf = (certificate: CertificateFacts): string => certificate.uriSans[0] ?? certificate.dnsSans[0] ?? certificate.subject;

const addressOf = (ip: string, port: number): Address => ({ socket_address: { address: ip, port_value: port } });

const tlsSession = (plan: CheckPlan, facts: DownstreamFacts) => {
  if (!plan.includeTlsSession) return {};
  return { tls_session: facts.tls === undefined || facts.sni === '' ? {} : { sni: facts.sni } };
};

const chosen = (namespaces: readonly string[], all: { readonly [namespace: string]: JsonObject } | undefined): Metadata => {
  const found = namespaces.flatMap((name) => (all?.[name] === undefined ? [] : [[name, all[name]] as const]));
  return found.length === 0 ? {} : { filter_metadata: Object.fromEntries(found) };
};

/** Bytes as text; what is not UTF-8 becomes '!', as Envoy writes it. */
const utf8 = (latin1: string): string => {
  for (let i = 0; i < latin1.length; i++)
    if (latin1.charCodeAt(i) > 0x7f) return Buffer.from(latin1, 'latin1').toString('utf8').replaceAll('\ufffd', '!');
  return latin1;
};
