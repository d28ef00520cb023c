// Names under which clusters report their statistics, where MeshConfig gives a pattern for them.

import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Service, ServicePort } from '../mesh/service.ts';
import type { InboundPort } from './inbound-ports.ts';

type Named = Pick<Service, 'host' | 'name' | 'namespace' | 'registry'>;

/** `%SERVICE%` is name and namespace of a Service and the host of anything else. */
export const patternedStat = (
  pattern: string,
  service: Named,
  subset: string,
  port: Pick<ServicePort, 'port' | 'name'>,
  targetPort: number | undefined,
): string => {
  const known = service.registry === 'Kubernetes' && service.name !== '';
  const values: Readonly<Record<string, string>> = {
    '%SERVICE%': known ? `${service.name}.${service.namespace}` : service.host,
    '%SERVICE_NAME%': known ? service.name : service.host,
    '%SERVICE_FQDN%': service.host,
    '%SUBSET_NAME%': subset,
    '%TARGET_PORT%': targetPort === undefined || targetPort === 0 ? '' : String(targetPort),
    '%SERVICE_PORT%': String(port.port),
    '%SERVICE_PORT_NAME%': port.name,
  };
  return pattern.replaceAll(/%[A-Z_]+%/g, (word) => values[word] ?? word);
};

/** Of a cluster to a service, and of the TCP forwarding to it. */
export const outboundStat = (
  mesh: Pick<MeshConfig, 'outboundClusterStatName'>,
  service: Named | undefined,
  subset: string,
  port: Pick<ServicePort, 'port' | 'name'> | undefined,
  fallback: string,
): string => {
  const pattern = mesh.outboundClusterStatName ?? '';
  return pattern === '' || service === undefined || port === undefined
    ? fallback
    : patternedStat(pattern, service, subset, port, undefined);
};

/** Of the cluster to the workload's own port, and of what its listener reads there. */
export const inboundStat = (mesh: Pick<MeshConfig, 'inboundClusterStatName'>, p: InboundPort, fallback: string): string => {
  const pattern = mesh.inboundClusterStatName ?? '';
  const service = p.services[0];
  return pattern === '' || service === undefined ? fallback : patternedStat(pattern, service, '', p.servicePort, p.targetPort);
};
