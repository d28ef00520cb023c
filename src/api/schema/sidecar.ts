// The fields of Istio's sidecar messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { connectionPoolSettings } from './destination-rule.ts';
import { serverTLSSettings } from './gateway.ts';
import { enumeration, list, message, string, uint32 } from './schema.ts';
import { workloadSelector } from './sidecar-selector.ts';
import { destination } from './virtual-service.ts';

export const captureMode = enumeration(['DEFAULT', 'IPTABLES', 'NONE']);

export const sidecarPort = message(
  'SidecarPort',
  { number: uint32, protocol: string, name: string, targetPort: uint32 },
  { deprecated: ['targetPort'] },
);

export const istioIngressListener = message(
  'IstioIngressListener',
  {
    port: sidecarPort,
    bind: string,
    captureMode: captureMode,
    defaultEndpoint: string,
    tls: serverTLSSettings,
    connectionPool: connectionPoolSettings,
  },
  { required: ['port'] },
);

export const istioEgressListener = message(
  'IstioEgressListener',
  { port: sidecarPort, bind: string, captureMode: captureMode, hosts: list(string) },
  { required: ['hosts'] },
);

export const outboundTrafficPolicyMode = enumeration(['REGISTRY_ONLY', 'ALLOW_ANY']);

export const outboundTrafficPolicy = message('OutboundTrafficPolicy', { mode: outboundTrafficPolicyMode, egressProxy: destination });

export const sidecar = message('Sidecar', {
  workloadSelector: workloadSelector,
  ingress: list(istioIngressListener),
  egress: list(istioEgressListener),
  inboundConnectionPool: connectionPoolSettings,
  outboundTrafficPolicy: outboundTrafficPolicy,
});
