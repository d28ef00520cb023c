// The fields of Istio's workload group messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { int32, list, message, string, uint32 } from './schema.ts';

export const httpHeader = message(
  'HTTPHeader',
  {
    name: string,
    value: string,
  },
  { limits: { name: { pattern: '^[-_A-Za-z0-9]+$' } } },
);

export const httpHealthCheckConfig = message(
  'HTTPHealthCheckConfig',
  {
    path: string,
    port: uint32,
    host: string,
    scheme: string,
    httpHeaders: list(httpHeader),
  },
  { required: ['port'] },
);

export const tcpHealthCheckConfig = message(
  'TCPHealthCheckConfig',
  {
    host: string,
    port: uint32,
  },
  { required: ['port'] },
);

export const execHealthCheckConfig = message(
  'ExecHealthCheckConfig',
  {
    command: list(string),
  },
  { required: ['command'], limits: { command: { each: { minLength: 1 } } } },
);

export const grpcHealthCheckConfig = message('GrpcHealthCheckConfig', {
  port: uint32,
  service: string,
});

export const readinessProbe = message(
  'ReadinessProbe',
  {
    initialDelaySeconds: int32,
    timeoutSeconds: int32,
    periodSeconds: int32,
    successThreshold: int32,
    failureThreshold: int32,
    httpGet: httpHealthCheckConfig,
    tcpSocket: tcpHealthCheckConfig,
    exec: execHealthCheckConfig,
    grpc: grpcHealthCheckConfig,
  },
  {
    oneofs: [['httpGet', 'tcpSocket', 'exec', 'grpc']],
    limits: {
      initialDelaySeconds: { minimum: 0 },
      timeoutSeconds: { minimum: 0 },
      periodSeconds: { minimum: 0 },
      successThreshold: { minimum: 0 },
      failureThreshold: { minimum: 0 },
    },
  },
);
