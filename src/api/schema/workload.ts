// Workload (skein.dev/v1): Skein's one own kind, a local process with replicas.

import { duration, int32, intOrString, list, map, message, quantity, string, uint32 } from './schema.ts';

export const workloadPort = message('WorkloadPort', { name: string, port: uint32 }, { required: ['port'] });

export const workloadHttpGet = message('WorkloadHttpGet', { path: string, port: intOrString }, { required: ['port'] });
export const workloadTcpSocket = message('WorkloadTcpSocket', { port: intOrString }, { required: ['port'] });
export const workloadExec = message('WorkloadExec', { command: list(string) }, { required: ['command'] });

export const workloadReadiness = message(
  'WorkloadReadiness',
  {
    httpGet: workloadHttpGet,
    tcpSocket: workloadTcpSocket,
    exec: workloadExec,
    /** Between two probes; 1s. */
    period: duration,
    /** Of one probe; 1s. */
    timeout: duration,
    /** Probes in a row that must fail before a ready replica counts as not ready; 3. */
    failureThreshold: int32,
  },
  { oneofs: [['httpGet', 'tcpSocket', 'exec']] },
);

export const workloadResourceLimits = message('WorkloadResourceLimits', { memory: quantity, cpu: quantity });
export const workloadResources = message('WorkloadResources', { limits: workloadResourceLimits });

export const workload = message('Workload', {
  serviceAccount: string,
  replicas: int32,
  command: list(string),
  workingDir: string,
  env: map(string),
  ports: list(workloadPort),
  readiness: workloadReadiness,
  resources: workloadResources,
});
