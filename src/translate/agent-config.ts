// What an agent is to do beside its proxy, as Istio's ProxyConfig: the roots that are trusted now, and the probe of the WorkloadGroup that
// its workload registered with, for agents that take it from here.

import type { WorkloadGroup } from '../api/specs.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { TAKES_PROBES } from '../xds/client-features.ts';
import type { ProxyConfig, ReadinessProbe } from '../xds/gen/types.ts';
import type { ProxyNode } from './proxy-node.ts';

/** Undefined when there is nothing to say. */
export const agentConfig = (snapshot: Snapshot, node: ProxyNode): ProxyConfig | undefined => {
  const { trustAnchors } = snapshot;
  const probe = groupProbe(snapshot, node);
  if (trustAnchors.length === 0 && probe === undefined) return undefined;
  return {
    ...(trustAnchors.length > 0 && { ca_certificates_pem: [...trustAnchors] }),
    ...(probe && { readiness_probe: probeMessage(probe) }),
  };
};

const groupProbe = (snapshot: Snapshot, node: ProxyNode): WorkloadGroup['probe'] => {
  const group = node.metadata['AUTO_REGISTER_GROUP'];
  if (typeof group !== 'string' || node.metadata[TAKES_PROBES] !== 'true') return undefined;
  return snapshot.workloadGroups.get(`${node.namespace}/${group}`)?.spec.probe;
};

const probeMessage = (probe: NonNullable<WorkloadGroup['probe']>): ReadinessProbe => {
  const { httpGet, tcpSocket, exec, grpc } = probe;
  return {
    initial_delay_seconds: probe.initialDelaySeconds ?? 0,
    timeout_seconds: probe.timeoutSeconds ?? 0,
    period_seconds: probe.periodSeconds ?? 0,
    success_threshold: probe.successThreshold ?? 0,
    failure_threshold: probe.failureThreshold ?? 0,
    ...(httpGet && {
      http_get: {
        path: httpGet.path ?? '',
        port: httpGet.port,
        host: httpGet.host ?? '',
        scheme: httpGet.scheme ?? '',
        http_headers: (httpGet.httpHeaders ?? []).map((h) => ({ name: h.name ?? '', value: h.value ?? '' })),
      },
    }),
    ...(tcpSocket && { tcp_socket: { host: tcpSocket.host ?? '', port: tcpSocket.port } }),
    ...(exec && { exec: { command: exec.command ?? [] } }),
    ...(grpc && { grpc: { port: grpc.port ?? 0, service: grpc.service ?? '' } }),
  };
};
