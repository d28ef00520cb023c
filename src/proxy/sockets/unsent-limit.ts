// How much may wait unsent on a socket before whoever writes is told to stop: Envoy's per_connection_buffer_limit_bytes. A write
// that reaches it answers false, and 'drain' follows; it never drops or refuses bytes.

import type { Socket } from 'node:net';
import { BUFFER_BYTES, UNSENT_BYTES_MAX } from '../limits.ts';

/** Of a configured limit; to Envoy 0 is none at all. */
export const unsentLimit = (configured: number | undefined): number =>
  configured === undefined ? BUFFER_BYTES : configured === 0 ? UNSENT_BYTES_MAX : Math.min(configured, UNSENT_BYTES_MAX);

// Neither runtime lets a connecting or an accepted socket be given a bound of its writing side alone: both keep it here (not
// public API; held by the back-pressure tests).
export const limitUnsent = (socket: Socket, bytes: number): void => {
  const state = (socket as unknown as { _writableState?: { highWaterMark: number } })._writableState;
  if (state !== undefined) state.highWaterMark = bytes;
};
