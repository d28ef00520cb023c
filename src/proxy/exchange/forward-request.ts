// Small decisions on the way of a request upstream: its head in HTTP/1, the port in its authority. Pure functions.

import { H } from '../../wire/header-name.ts';
import { skipRule } from '../../wire/hop-by-hop.ts';
import type { Http1Writer } from '../../wire/http1-writer.ts';
import type { OutgoingRequest } from '../upstream/upstream-stream.ts';
import type { HcmPlan } from './hcm-plan.ts';

const SKIP = skipRule([H.HOST, H.CONNECTION, H.TRANSFER_ENCODING]);
/** Nothing behind an upgrade's head is its body: a length would make the peer take the next request for one. */
const SKIP_UPGRADE = skipRule([H.HOST, H.CONNECTION, H.TRANSFER_ENCODING, H.CONTENT_LENGTH]);
const UPGRADE_LINE = Buffer.from('connection: upgrade\r\n');
/** Of all others it is said that nothing follows, as Envoy does. */
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'TRACE', 'CONNECT']);
const EMPTY_LINE = Buffer.from('content-length: 0\r\n');
const CHUNKED_LINE = Buffer.from('transfer-encoding: chunked\r\n');

/** The head as it goes upstream in HTTP/1; the view is the caller's. */
export const upstreamHead = (writer: Http1Writer, request: OutgoingRequest, upgrade: string, chunked: boolean): Buffer => {
  const headers = request.requestHeaders;
  const hostName = headers.cased ? headers.written('host') : 'host';
  if (request.method === 'CONNECT') writer.requestLine('CONNECT', request.authority, request.authority, hostName);
  else writer.requestLine(request.method, request.path, request.authority, hostName);
  writer.fields(headers, upgrade === '' ? SKIP : SKIP_UPGRADE);
  if (upgrade !== '' && upgrade !== 'connect') writer.ownLine(headers, UPGRADE_LINE);
  if (chunked) writer.ownLine(headers, CHUNKED_LINE);
  else if (upgrade === '' && !BODILESS.has(request.method) && !headers.hasId(H.CONTENT_LENGTH)) writer.ownLine(headers, EMPTY_LINE);
  writer.endHead();
  return writer.take();
};

export const stripPort = (plan: HcmPlan, authority: string, localPort: number): string => {
  let host = authority;
  if (plan.stripPort !== 'none') {
    const port = /:(\d+)$/.exec(host)?.[1];
    if (port !== undefined && (plan.stripPort === 'any' || Number(port) === localPort)) host = host.slice(0, -port.length - 1);
  }
  if (plan.stripTrailingDot) {
    const colon = /\.:\d+$/.exec(host);
    if (colon !== null) host = host.slice(0, colon.index) + host.slice(colon.index + 1);
    else if (host.endsWith('.')) host = host.slice(0, -1);
  }
  return host;
};
