// A proxy before an application that answers everything, with one listener whose requests are all traced.
import { request as httpRequest } from 'node:http';
import type { DataPlane, DataPlaneOptions } from '../../src/proxy/data-plane.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { hcm, listener, startBackend, startPlane, staticCluster, toCluster } from './harness.ts';

const HTTP2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
} satisfies Partial<Cluster>;

export interface TracedPlane extends AsyncDisposable {
  readonly plane: DataPlane;
  /** The status. */
  ask(path: string): Promise<number>;
  stat(name: string): number;
  /** The collector's cluster leads there from now on. */
  lead(port: number): void;
}

/** `collector`: its port; undefined: there is no such cluster. */
export const startTracedPlane = async (
  collector: number | undefined,
  tracer: 'otlp' | 'grpc',
  more: object = {},
  options: Partial<DataPlaneOptions> = {},
): Promise<TracedPlane> => {
  const app = await startBackend((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
  const leading = (port: number): Cluster => staticCluster('collector', [port], tracer === 'grpc' ? HTTP2 : {});
  const typed_config = {
    '@type': 'type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig',
    service_name: 'svc',
    ...(tracer === 'grpc'
      ? { grpc_service: { envoy_grpc: { cluster_name: 'collector' }, timeout: '0.3s' } }
      : { http_service: { http_uri: { uri: 'otel.example/v1/traces', cluster: 'collector', timeout: '0.3s' } } }),
    ...more,
  };
  const resources = {
    clusters: [staticCluster('app', [app.port]), ...(collector === undefined ? [] : [leading(collector)])],
    listeners: [listener('l', hcm([toCluster('app')], { tracing: { provider: { name: 'tracer', typed_config } } }))],
  };
  const { plane, port } = await startPlane(resources, options);
  const at = port('l');
  return {
    plane,
    lead: (to) => plane.setCluster(leading(to)),
    stat: (name) => plane.stats.find(name)?.value ?? 0,
    ask: (path) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({ host: '127.0.0.1', port: at, path, agent: false }, (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
        });
        request.on('error', reject);
        request.end();
      }),
    [Symbol.asyncDispose]: async () => {
      await plane.close();
      await app[Symbol.asyncDispose]();
    },
  };
};
