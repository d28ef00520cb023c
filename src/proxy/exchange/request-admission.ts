// A request before it is routed: who sends it, a host, a path that can be read in one way, and the headers that say so to all others.
// Changes the exchange it is given; answers nothing itself.

import { normalizedPath, type PathDecision } from '../../plan/path.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { removeHopByHop } from '../../wire/hop-by-hop.ts';
import { addressText, type DownstreamFacts } from '../connection-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { mutateClientCertHeader } from './client-cert-header.ts';
import type { DownstreamStream } from './downstream-stream.ts';
import { stripPort } from './forward-request.ts';
import type { HcmPlan } from './hcm-plan.ts';
import { type LocalReply, OVERLOADED, PATH_REFUSED } from './local-reply.ts';
import { type ClientAddress, mutateRequestHeaders } from './request-headers.ts';

const NO_HOST: LocalReply = { status: 400, body: '', details: 'missing_host_header', flag: undefined };
const NO_PATH: LocalReply = { status: 404, body: '', details: 'absolute_path_rejected', flag: undefined };

export interface AdmittedExchange {
  readonly info: StreamInfo;
  readonly facts: DownstreamFacts;
  readonly method: string;
  path: string;
  authority: string;
  scheme: string;
  readonly requestHeaders: HeaderBlock;
  readonly upgrade: string;
  sourceIp: string;
  internal: boolean;
}

/** What is answered instead; a path: where the client is to ask. */
export type NotAdmitted = LocalReply | Extract<PathDecision, { kind: 'redirect' }>;

/** What an exchange keeps from request to request. */
export class Admission {
  readonly #env: ProxyEnvironment;
  readonly #plan: HcmPlan;
  readonly #down: DownstreamStream;
  readonly #certCache: { text: string | undefined } = { text: undefined };
  readonly #client: ClientAddress = { ip: '', fromHeader: false, internal: false };

  constructor(env: ProxyEnvironment, plan: HcmPlan, down: DownstreamStream) {
    this.#env = env;
    this.#plan = plan;
    this.#down = down;
  }

  /** `fresh`: it comes from the client, whose word is not taken for everything. undefined: it may go on. */
  refuses(exchange: AdmittedExchange, fresh: boolean): NotAdmitted | undefined {
    const plan = this.#plan;
    const { info, facts } = exchange;
    if (fresh) removeHopByHop(exchange.requestHeaders, exchange.upgrade !== '' && exchange.upgrade !== 'connect');
    info.authority = exchange.authority = stripPort(plan, exchange.authority, facts.localPort);
    info.method = exchange.method;
    info.path = exchange.path;
    if (this.#env.overload.shedsRequest(plan.context)) return OVERLOADED;
    if (exchange.authority === '' && plan.defaultHostForHttp10 !== '') info.authority = exchange.authority = plan.defaultHostForHttp10;
    const path = admittedPath(plan, exchange.authority, exchange.path);
    if (typeof path !== 'string') return path;
    info.path = exchange.path = path;
    if (fresh) this.#identify(exchange);
    const headers = exchange.requestHeaders;
    if (plan.schemeOverwrite !== '') {
      exchange.scheme = plan.schemeOverwrite;
      headers.setById(H.X_FORWARDED_PROTO, exchange.scheme);
    } else if (fresh && (exchange.scheme === '' || info.protocol !== 'HTTP/2'))
      exchange.scheme = headers.getById(H.X_FORWARDED_PROTO) ?? 'http';
    info.scheme = exchange.scheme;
    info.streamId = headers.getById(H.X_REQUEST_ID) ?? '';
    return undefined;
  }

  /** Who the client is. */
  #identify(exchange: AdmittedExchange): void {
    const plan = this.#plan;
    const { requestHeaders: headers, facts } = exchange;
    const client = this.#client;
    const { internalRanges } = this.#down;
    const tls = facts.tls;
    mutateRequestHeaders(plan, internalRanges, headers, facts.remoteIp, tls !== undefined, facts.localPort, this.#env.ownAddress, client);
    exchange.sourceIp = client.ip;
    exchange.internal = client.internal;
    if (client.fromHeader) exchange.info.downstreamRemoteAddress = addressText(client.ip, 0);
    mutateClientCertHeader(plan, headers, tls !== undefined, tls?.peer, facts.localUri, this.#certCache);
  }
}

/** The path to route by; where the client is to ask for another one; or what it is answered. */
const admittedPath = (plan: HcmPlan, authority: string, path: string): string | NotAdmitted => {
  if (authority === '') return NO_HOST;
  if (path === '') return path;
  if (!path.startsWith('/')) return NO_PATH;
  const decision = normalizedPath(plan.pathPolicy, path);
  return typeof decision !== 'string' && decision.kind === 'reject' ? PATH_REFUSED : decision;
};
