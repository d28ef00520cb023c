// The grpc-timeout header, and what a route's max_stream_duration makes of it.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import type { CompiledRoute } from './route-plan.ts';

const UNITS: { readonly [unit: string]: number } = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };

/** undefined: the text says no time. */
export const grpcTimeoutMs = (text: string): number | undefined => {
  const parts = /^(\d{1,8})([HMSmun])$/.exec(text);
  return parts === null ? undefined : Math.ceil(Number(parts[1]) * (UNITS[parts[2] ?? ''] ?? 0));
};

const DIGITS_MAX = 99_999_999;
export const grpcTimeoutText = (ms: number): string => {
  if (ms <= DIGITS_MAX) return `${ms}m`;
  if (ms / 1000 <= DIGITS_MAX) return `${Math.floor(ms / 1000)}S`;
  return ms / 60_000 <= DIGITS_MAX ? `${Math.floor(ms / 60_000)}M` : `${Math.min(DIGITS_MAX, Math.floor(ms / 3_600_000))}H`;
};

/** How long the stream may last, as the route and the client say, and gRPC's upstream is told; undefined: they do not say. 0: for ever. */
export const streamDurationMs = (route: CompiledRoute, headers: HeaderBlock, grpc: boolean): number | undefined => {
  if (!route.streamTimes) return undefined;
  const most = route.grpcHeaderMaxMs;
  const asked = most === undefined ? undefined : grpcTimeoutMs(headers.getById(H.GRPC_TIMEOUT) ?? '');
  let ms = route.maxStreamDurationMs;
  if (most !== undefined && asked !== undefined) {
    const bounded = most > 0 && asked > most ? most : asked;
    // Nothing left is no time at all, not for ever.
    ms = Math.max(1, bounded - route.grpcHeaderOffsetMs);
  }
  if (grpc && ms !== undefined && ms > 0) headers.setById(H.GRPC_TIMEOUT, grpcTimeoutText(ms));
  return ms;
};
