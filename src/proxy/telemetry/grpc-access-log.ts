// Access logs for Envoy's log service, compiled: what an entry says, which sink takes it.

import { randomUUID } from 'node:crypto';
import { compileHttpEntry, compileTcpEntry, type EntryWriter } from '../../plan/log-entry.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { ProtoBuffer } from '../../plan/proto-buffer.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import type { CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, JsonObject } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { compileGrpcService } from '../grpc-side-call.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import { stable } from '../stable-text.ts';
import { GrpcLogSink } from './grpc-log-sink.ts';
import type { LogExports } from './log-exports.ts';
import { DOWNSTREAM_PEER, downstreamPeer, UPSTREAM_PEER, upstreamPeer } from './parties.ts';
import type { Peer } from './peer-metadata.ts';

const FLUSH_MS = 1000;
const BUFFER_BYTES = 16384;
const STATS = 'access_logs.grpc_access_log.';

export interface GrpcLog {
  readonly write: EntryWriter;
  readonly sink: GrpcLogSink;
}

/** Throws PlanError for what a sidecar cannot honour. */
export const compileGrpcLog = (
  config: HttpGrpcAccessLogConfig,
  kind: 'http' | 'tcp',
  path: string,
  exports: LogExports,
  env: ProxyEnvironment,
): GrpcLog => {
  const common = config.common_config;
  const at = `${path}.common_config`;
  if (common === undefined) throw new PlanError(at, 'is required');
  const { log_name: logName = '' } = common;
  if (logName === '') throw new PlanError(`${at}.log_name`, 'is required');
  const options = {
    customTags: common.custom_tags ?? [],
    filterState: common.filter_state_objects_to_log ?? [],
    requestHeaders: config.additional_request_headers_to_log ?? [],
    responseHeaders: config.additional_response_headers_to_log ?? [],
    responseTrailers: config.additional_response_trailers_to_log ?? [],
    path: at,
    stateOf: peerState,
    unique: randomUUID,
  };
  const write = kind === 'http' ? compileHttpEntry(options) : compileTcpEntry(options);
  const service = compileGrpcService(common.grpc_service, `${at}.grpc_service`);
  const timing = { flushMs: flushInterval(common, at), bufferBytes: common.buffer_size_bytes ?? BUFFER_BYTES };
  const sink = exports.at(
    `${kind} ${stable({ logName, service, timing })}`,
    () => new GrpcLogSink(env, { kind, service, ...timing, statPrefix: STATS, identifier: identifierOf(exports, logName) }),
  );
  return { write, sink };
};

export const flushInterval = (config: Pick<CommonGrpcAccessLogConfig, 'buffer_flush_interval'>, path: string): number => {
  if (config.buffer_flush_interval === undefined) return FLUSH_MS;
  const ms = durationMs(config.buffer_flush_interval);
  if (ms <= 0) throw new PlanError(`${path}.buffer_flush_interval`, 'must be more than nothing');
  return ms;
};

const identifierOf = (exports: LogExports, logName: string): Uint8Array => {
  const out = new ProtoBuffer(exports.identity.length + logName.length + 16);
  out.blob(1, exports.identity);
  out.string(2, logName);
  return out.bytes.subarray(0, out.length);
};

/** Peers as Istio's proxies serialize them. */
const states = new WeakMap<Peer, JsonObject>();

export const peerState = (key: string, info: StreamInfo): JsonObject | undefined => {
  const peer = key === DOWNSTREAM_PEER ? downstreamPeer(info) : key === UPSTREAM_PEER ? upstreamPeer(info) : undefined;
  if (peer === undefined) return undefined;
  let state = states.get(peer);
  if (state === undefined) {
    const { workload, cluster, namespace, canonicalService: service, canonicalRevision: revision, app, version } = peer;
    const all = Object.entries({ workload, cluster, namespace, service, revision, app, version });
    state = Object.fromEntries(all.filter(([, value]) => value !== ''));
    states.set(peer, state);
  }
  return state;
};
