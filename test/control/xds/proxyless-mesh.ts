// A mesh of gRPC servers for clients without proxies: servers that count and name themselves, and the YAML that speaks of them.

import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';

export const PATH = '/echo.Echo/Who';
export const plain = (b: Buffer): Buffer => b;
const unary = (path: string): ServiceDefinition[string] => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: plain,
  requestDeserialize: plain,
  responseSerialize: plain,
  responseDeserialize: plain,
});
/** The second is what the gRPC project's own interoperability client calls. */
const SERVICE: ServiceDefinition = { who: unary(PATH), unaryCall: unary('/grpc.testing.TestService/UnaryCall') };

/** Bytes of payload in every answer to that client. */
export const PAYLOAD_BYTES = 10;
/** `SimpleResponse { payload { body } }`. */
const SIMPLE_RESPONSE = Buffer.from([0x0a, PAYLOAD_BYTES + 2, 0x12, PAYLOAD_BYTES, ...new Uint8Array(PAYLOAD_BYTES)]);

export interface Backend {
  readonly name: string;
  readonly port: number;
  calls: number;
  stop(): void;
}

/** Answers with its name. */
export const startBackend = async (name: string): Promise<Backend> => {
  const server = new Server();
  const answer = (value: Buffer) => (_call: unknown, done: (error: null, value: Buffer) => void) => {
    backend.calls++;
    done(null, value);
  };
  server.addService(SERVICE, { who: answer(Buffer.from(name)), unaryCall: answer(SIMPLE_RESPONSE) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const backend: Backend = { name, port, calls: 0, stop: () => server.forceShutdown() };
  return backend;
};

/** What a client needs to find the control plane. */
export const bootstrapOf = (address: string | undefined): string =>
  JSON.stringify({
    xds_servers: [{ server_uri: address, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] }],
    node: {
      id: 'sidecar~10.1.0.1~caller.shop~shop.svc.cluster.local',
      metadata: { GENERATOR: 'grpc', NAMESPACE: 'shop', INSTANCE_IPS: '10.1.0.1' },
      locality: { region: 'north' },
    },
  });

export const service = (name: string, endpoints: readonly (readonly [Backend, version: string, locality: string])[]): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop.svc.cluster.local]
  addresses: [10.96.0.${name.length}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 7000, name: grpc, protocol: GRPC}]
  endpoints:
${endpoints.map(([b, v, l]) => `  - {address: 127.0.0.1, ports: {grpc: ${b.port}}, labels: {version: ${v}}, locality: ${l}}`).join('\n')}
---
`;
export const split = (weights: readonly [number, number]): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: split, namespace: shop}
spec:
  host: split
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: shop}
spec:
  hosts: [split]
  http:
  - route:
    - {destination: {host: split, subset: v1}, weight: ${weights[0]}}
    - {destination: {host: split, subset: v2}, weight: ${weights[1]}}
`;
export const FAILOVER = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: near, namespace: shop}
spec:
  host: near.shop.svc.cluster.local
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3}
    loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: north, to: south}]}}
`;
