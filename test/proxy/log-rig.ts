// A data plane that logs to services beside it, and traffic through it: what the tests of those logs share.
import * as http from 'node:http';
import { connect } from 'node:net';
import { systemClock } from '../../src/proxy/clock.ts';
import { UNKNOWN_PEER } from '../../src/proxy/telemetry/parties.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import type { AccessLog, Cluster, Listener, Node } from '../../src/xds/gen/types.ts';
import { type Plane, startPlane } from './harness.ts';

export const NODE: Node = { id: 'sidecar~1', cluster: 'shop', locality: { zone: 'z1' }, metadata: { NAME: 'web-1' } };

export interface LogRig extends Plane {
  readonly telemetry: Telemetry;
  count(name: string): number;
}

export const startLogging = async (
  resources: { clusters: readonly Cluster[]; listeners: readonly Listener[] },
  workers = 1,
): Promise<LogRig> => {
  const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: () => 0.5, node: NODE, workers });
  const plane = await startPlane(resources, { observer: telemetry, workers });
  return {
    ...plane,
    telemetry,
    count: (name) => plane.plane.stats.find(name)?.value ?? 0,
    [Symbol.asyncDispose]: async () => {
      await plane.plane.close();
      await telemetry.close();
    },
  };
};

const GRPC = 'type.googleapis.com/envoy.extensions.access_loggers.grpc.v3';

export const common = (more: object = {}): object => ({
  log_name: 'shop',
  transport_api_version: 'V3',
  grpc_service: { envoy_grpc: { cluster_name: 'logs' } },
  buffer_flush_interval: '0.02s',
  ...more,
});

export const httpLog = (more: object = {}, fields: object = {}): AccessLog => ({
  name: 'envoy.access_loggers.http_grpc',
  typed_config: { '@type': `${GRPC}.HttpGrpcAccessLogConfig`, common_config: common(more), ...fields },
});
export const tcpLog = (more: object = {}): AccessLog => ({
  name: 'envoy.access_loggers.tcp_grpc',
  typed_config: { '@type': `${GRPC}.TcpGrpcAccessLogConfig`, common_config: common(more) },
});
export const otelLog = (fields: object): AccessLog => ({
  name: 'envoy.access_loggers.open_telemetry',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig',
    ...fields,
  },
});

/** One request on a connection of its own; its status, 0 when there is none. */
export const request = (port: number, path: string, options: http.RequestOptions = {}, body?: string): Promise<number> =>
  new Promise((resolve) => {
    const asked = http.request({ host: '127.0.0.1', port, path, agent: false, ...options }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.on('error', () => resolve(0));
    asked.end(body);
  });

/** Says something on a connection and hangs up when it is answered, or when it is closed. */
export const converse = (port: number): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('hi'));
    socket.on('data', () => socket.end());
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
