// Http2ProtocolOptions compiled: what the HTTP/2 machine is made with, and when a connection is asked whether it still lives.
// Refuses what cannot be honoured.

import { PlanError } from '../../plan/plan-error.ts';
import type { Http2Options } from '../../wire/http2-connection.ts';
import type { Http2ProtocolOptions, KeepaliveSettings } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';

export interface KeepalivePlan {
  /** 0: no regular pings. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Of the interval, drawn anew each time. */
  readonly jitterPercent: number;
  /** A connection without streams for so long is asked when the next one begins; 0: never. */
  readonly idleMs: number;
}

const JITTER_PERCENT = 15;
const MOST = 2 ** 31 - 1;
const LEAST = [
  ['max_concurrent_streams', 1],
  ['initial_stream_window_size', 65_535],
  ['initial_connection_window_size', 65_535],
  ['max_outbound_frames', 1],
  ['max_outbound_control_frames', 1],
  ['max_inbound_window_update_frames_per_data_frame_sent', 1],
] as const;

export const compileKeepalive = (settings: KeepaliveSettings | undefined, path: string): KeepalivePlan | undefined => {
  if (settings === undefined) return undefined;
  const timeoutMs = durationMs(settings.timeout) ?? 0;
  if (timeoutMs <= 0) throw new PlanError(`${path}.timeout`, 'is required');
  return {
    intervalMs: durationMs(settings.interval) ?? 0,
    timeoutMs,
    jitterPercent: settings.interval_jitter === undefined ? JITTER_PERCENT : (settings.interval_jitter.value ?? 0),
    idleMs: durationMs(settings.connection_idle_interval) ?? 0,
  };
};

/** `more`: what other parts of the configuration say of the same machine. */
export const compileHttp2 = (options: Http2ProtocolOptions | undefined, path: string, more: Http2Options = {}): Http2Options => {
  if (options?.allow_metadata === true) throw new PlanError(`${path}.allow_metadata`, 'not supported');
  if ((options?.custom_settings_parameters?.length ?? 0) > 0) throw new PlanError(`${path}.custom_settings_parameters`, 'not supported');
  for (const [field, least] of LEAST) {
    const value = options?.[field];
    if (value !== undefined && (value < least || value > MOST)) throw new PlanError(`${path}.${field}`, `must be from ${least} to ${MOST}`);
  }
  return {
    ...more,
    initialStreamWindowSize: options?.initial_stream_window_size,
    initialConnectionWindowSize: options?.initial_connection_window_size,
    maxConcurrentStreams: options?.max_concurrent_streams,
    allowConnect: options?.allow_connect ?? false,
    headerTableSize: options?.hpack_table_size,
    maxOutboundFrames: options?.max_outbound_frames,
    maxOutboundControlFrames: options?.max_outbound_control_frames,
    maxConsecutiveInboundFramesWithEmptyPayload: options?.max_consecutive_inbound_frames_with_empty_payload,
    maxInboundPriorityFramesPerStream: options?.max_inbound_priority_frames_per_stream,
    maxInboundWindowUpdateFramesPerDataFrameSent: options?.max_inbound_window_update_frames_per_data_frame_sent,
    streamErrorOnInvalidMessage:
      options?.override_stream_error_on_invalid_http_message ?? options?.stream_error_on_invalid_http_messaging ?? false,
  };
};
