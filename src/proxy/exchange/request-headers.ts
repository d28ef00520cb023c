// What Envoy's HTTP connection manager does to the headers of every request before anything else looks at them: who the client is,
// what an outside client may not say, ids. Mutates the block; reads no clock.

import { randomUUID } from 'node:crypto';
import { BlockList, isIP } from 'node:net';
import { isReferer } from '../../plan/absolute-address.ts';
import { withReason } from '../../plan/tracing/request-id.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H, NAME_ID_COUNT } from '../../wire/header-name.ts';
import type { HcmPlan } from './hcm-plan.ts';

/** Who the client is found to be; whoever asks keeps one and gives it to be filled. */
export interface ClientAddress {
  /** The trusted client address without port. */
  ip: string;
  fromHeader: boolean;
  internal: boolean;
}

// Headers that steer the router: only an internal client may send them.
const INTERNAL_ONLY = new Uint8Array(NAME_ID_COUNT);
for (const id of [
  H.X_ENVOY_RETRIABLE_STATUS_CODES,
  H.X_ENVOY_RETRIABLE_HEADER_NAMES,
  H.X_ENVOY_RETRY_ON,
  H.X_ENVOY_RETRY_GRPC_ON,
  H.X_ENVOY_MAX_RETRIES,
  H.X_ENVOY_UPSTREAM_ALT_STAT_NAME,
  H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
  H.X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
  H.X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
  H.X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
  H.X_ENVOY_FORCE_TRACE,
  H.X_ENVOY_IP_TAGS,
  H.X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
  H.X_ENVOY_UPSTREAM_STREAM_DURATION_MS,
  H.X_ENVOY_ORIGINAL_URL,
])
  INTERNAL_ONLY[id] = 1;

export const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1' || ip.startsWith('::ffff:127.');

/** Clients whose address says nothing to others. As Envoy: the rest of 127.0.0.0/8 is told. */
export const isLoopbackClient = (ip: string): boolean => ip === '127.0.0.1' || ip === '::1';

export const compileInternalRanges = (plan: HcmPlan): BlockList | undefined => {
  if (plan.internalRanges.length === 0) return undefined;
  const list = new BlockList();
  for (const range of plan.internalRanges) {
    const address = range.address_prefix ?? '';
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (isIP(address) !== 0) list.addSubnet(address, range.prefix_len ?? 0, family);
  }
  return list;
};

/** Of requests and, as Envoy does, of responses. */
export const appendVia = (headers: HeaderBlock, own: string): void => {
  const via = headers.getById(H.VIA);
  headers.setById(H.VIA, via === undefined ? own : `${via}, ${own}`);
};

/** The nth address from the right of x-forwarded-for, which must be no more than an address; `single`: it was the only one. */
export const lastForwardedFor = (headers: HeaderBlock, skip: number): { readonly ip: string; readonly single: boolean } | undefined => {
  const all = headers.values('x-forwarded-for').join(',').split(',');
  const ip = all[all.length - 1 - skip]?.trim() ?? '';
  return isIP(ip) === 0 ? undefined : { ip, single: all.length === 1 };
};

const appendForwardedFor = (headers: HeaderBlock, ip: string): void => {
  const before = headers.values('x-forwarded-for').join(',');
  headers.setById(H.X_FORWARDED_FOR, before === '' ? ip : `${before},${ip}`);
};

/** Whether a request is traced is not for strangers to say. */
const forgetTraceReason = (headers: HeaderBlock): void => {
  const id = headers.getById(H.X_REQUEST_ID);
  if (id !== undefined) headers.setById(H.X_REQUEST_ID, withReason(id, 'none'));
};

/** `ownAddress`: what stands for a loopback client in x-forwarded-for. */
export const mutateRequestHeaders = (
  plan: HcmPlan,
  internalRanges: BlockList | undefined,
  headers: HeaderBlock,
  peerIp: string,
  tls: boolean,
  localPort: number,
  ownAddress: string,
  found: ClientAddress,
): void => {
  let client: string | undefined;
  let fromHeader = false;
  let mayBeInternal = false;
  const hadForwardedFor = headers.hasId(H.X_FORWARDED_FOR);
  if (plan.useRemoteAddress) {
    mayBeInternal = !hadForwardedFor;
    if (plan.xffTrustedHops > 0 && hadForwardedFor) client = lastForwardedFor(headers, plan.xffTrustedHops - 1)?.ip;
    fromHeader = client !== undefined;
    client ??= peerIp;
    if (!plan.skipXffAppend) appendForwardedFor(headers, isLoopbackClient(peerIp) ? ownAddress : peerIp);
    if (plan.xffTrustedHops === 0 || !headers.hasId(H.X_FORWARDED_PROTO)) headers.setById(H.X_FORWARDED_PROTO, tls ? 'https' : 'http');
    if (plan.appendXForwardedPort && (plan.xffTrustedHops === 0 || !headers.hasId(H.X_FORWARDED_PORT)))
      headers.setById(H.X_FORWARDED_PORT, String(localPort));
  } else {
    const last = hadForwardedFor ? lastForwardedFor(headers, plan.xffTrustedHops) : undefined;
    client = last?.ip;
    fromHeader = client !== undefined;
    mayBeInternal = last?.single === true;
    if (!headers.hasId(H.X_FORWARDED_PROTO)) headers.setById(H.X_FORWARDED_PROTO, tls ? 'https' : 'http');
  }
  const internal = mayBeInternal && client !== undefined && internalRanges?.check(client, isIP(client) === 6 ? 'ipv6' : 'ipv4') === true;
  const edge = !internal && plan.useRemoteAddress;
  if (internal) headers.setById(H.X_ENVOY_INTERNAL, 'true');
  else {
    headers.removeById(H.X_ENVOY_INTERNAL);
    if (edge) {
      headers.removeById(H.X_ENVOY_DECORATOR_OPERATION);
      headers.removeById(H.X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER);
      headers.removeById(H.X_ENVOY_DOWNSTREAM_SERVICE_NODE);
      headers.removeById(H.X_ENVOY_ORIGINAL_HOST);
      headers.removeById(H.X_ENVOY_ORIGINAL_PATH);
      headers.setById(H.X_ENVOY_EXTERNAL_ADDRESS, client ?? peerIp);
    }
    headers.removeIds(INTERNAL_ONLY);
    for (const name of plan.routes.internalOnly) headers.remove(name);
  }
  if (headers.hasId(H.REFERER) && !isReferer(headers.values('referer').join(','))) headers.removeById(H.REFERER);
  if (plan.addUserAgent && !headers.hasId(H.USER_AGENT)) headers.setById(H.USER_AGENT, 'skein');
  if (plan.generateRequestId && (!headers.hasId(H.X_REQUEST_ID) || (edge && !plan.preserveExternalRequestId)))
    headers.setById(H.X_REQUEST_ID, randomUUID());
  else if (edge && plan.tracing?.packs === true) forgetTraceReason(headers);
  if (plan.via !== '') appendVia(headers, plan.via);
  found.ip = client ?? peerIp;
  found.fromHeader = fromHeader;
  found.internal = internal;
};
