// What the router makes of an upstream's response head before the response filters see it. Pure but for the block it changes.

import { applyHeaderOps } from '../../plan/header-ops.ts';
import type { RouteMatch } from '../../plan/route.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import { removeHopByHop } from '../../wire/hop-by-hop.ts';

/** Bytes behind this head belong to another protocol: 101 to an upgrade, 2xx to CONNECT. `upgrade` is what the request asked for. */
export const changesProtocol = (upgrade: string, status: number): boolean =>
  upgrade === 'connect' ? status >= 200 && status < 300 : upgrade !== '' && status === 101;

/** The protocol a 101 changes to is the one that was asked for (RFC 9110 7.8). */
export const keepsToProtocol = (upgrade: string, headers: HeaderBlock): boolean => headers.getById(H.UPGRADE)?.toLowerCase() === upgrade;

/** `serviceMs` undefined: x-envoy-upstream-service-time is not wanted. */
export const finishResponseHead = (
  headers: HeaderBlock,
  status: number,
  match: RouteMatch,
  info: StreamInfo,
  requestHeaders: HeaderBlock,
  serviceMs: number | undefined,
  attempts: number,
  cookies: readonly string[],
): void => {
  removeHopByHop(headers, status === 101);
  // RFC 9110 8.6: there is none in a 204, not even 0.
  if (status === 204) headers.removeById(H.CONTENT_LENGTH);
  if (serviceMs !== undefined) headers.setById(H.X_ENVOY_UPSTREAM_SERVICE_TIME, String(serviceMs));
  for (const cookie of cookies) headers.add('set-cookie', cookie);
  if (match.virtualHost.includeAttemptCountInResponse) headers.setById(H.X_ENVOY_ATTEMPT_COUNT, String(attempts));
  if (match.responseHeaderOps.length > 0) applyHeaderOps(match.responseHeaderOps, headers, info, requestHeaders, headers);
  if (status === 101) headers.set('connection', 'upgrade');
};
