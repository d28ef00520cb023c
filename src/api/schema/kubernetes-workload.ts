// Kubernetes' kinds that say where workloads are: Pod, Endpoints, EndpointSlice. What a mesh has no use for is named, so that
// exported objects read unchanged and a misspelt field is still found, and dropped.

import { bool, enumeration, ignoring, list, map, message, string, uint32 } from './schema.ts';

export const containerPort = message(
  'v1.ContainerPort',
  { name: string, containerPort: uint32, protocol: enumeration(['TCP', 'UDP', 'SCTP']), ...ignoring('hostPort', 'hostIP') },
  { required: ['containerPort'] },
);

export const container = message(
  'v1.Container',
  {
    name: string,
    ports: list(containerPort),
    ...ignoring('image', 'imagePullPolicy', 'command', 'args', 'workingDir', 'env', 'envFrom', 'resources', 'resizePolicy'),
    ...ignoring('restartPolicy', 'restartPolicyRules', 'volumeMounts', 'volumeDevices', 'livenessProbe', 'readinessProbe'),
    ...ignoring('startupProbe', 'lifecycle', 'terminationMessagePath', 'terminationMessagePolicy', 'securityContext'),
    ...ignoring('stdin', 'stdinOnce', 'tty'),
  },
  { required: ['name'] },
);

export const podSpec = message('v1.PodSpec', {
  containers: list(container),
  initContainers: list(container),
  serviceAccountName: string,
  serviceAccount: string,
  nodeName: string,
  hostname: string,
  subdomain: string,
  hostNetwork: bool,
  ...ignoring('volumes', 'ephemeralContainers', 'restartPolicy', 'terminationGracePeriodSeconds', 'activeDeadlineSeconds'),
  ...ignoring('dnsPolicy', 'dnsConfig', 'nodeSelector', 'automountServiceAccountToken', 'hostPID', 'hostIPC', 'hostUsers'),
  ...ignoring('shareProcessNamespace', 'securityContext', 'imagePullSecrets', 'affinity', 'schedulerName', 'tolerations'),
  ...ignoring('hostAliases', 'priorityClassName', 'priority', 'readinessGates', 'runtimeClassName', 'enableServiceLinks'),
  ...ignoring('preemptionPolicy', 'overhead', 'topologySpreadConstraints', 'setHostnameAsFQDN', 'os', 'schedulingGates'),
  ...ignoring('resourceClaims', 'resources', 'hostnameOverride', 'workloadRef'),
});

export const podCondition = message(
  'v1.PodCondition',
  {
    type: string,
    status: enumeration(['True', 'False', 'Unknown']),
    ...ignoring('reason', 'message', 'lastProbeTime', 'lastTransitionTime', 'observedGeneration'),
  },
  { required: ['type', 'status'] },
);

export const podAddress = message('v1.PodIP', { ip: string });

export const podStatus = message('v1.PodStatus', {
  phase: enumeration(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']),
  podIP: string,
  podIPs: list(podAddress),
  conditions: list(podCondition),
  ...ignoring('hostIP', 'hostIPs', 'startTime', 'message', 'reason', 'nominatedNodeName', 'qosClass', 'resize'),
  ...ignoring('containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses', 'resourceClaimStatuses'),
  ...ignoring('observedGeneration', 'extendedResourceClaimStatus', 'allocatedResources', 'resources'),
});

export const kubernetesPod = message('v1.Pod', { spec: podSpec, status: podStatus });

export const endpointTargetReference = message('v1.ObjectReference', {
  kind: string,
  name: string,
  namespace: string,
  ...ignoring('apiVersion', 'fieldPath', 'resourceVersion', 'uid'),
});

export const endpointConditions = message('discovery.v1.EndpointConditions', { ready: bool, serving: bool, terminating: bool });

export const endpointZoneHint = message('discovery.v1.ForZone', { name: string }, { required: ['name'] });
export const endpointHints = message('discovery.v1.EndpointHints', { forZones: list(endpointZoneHint), ...ignoring('forNodes') });

export const sliceEndpoint = message(
  'discovery.v1.Endpoint',
  {
    addresses: list(string),
    conditions: endpointConditions,
    hostname: string,
    nodeName: string,
    zone: string,
    targetRef: endpointTargetReference,
    deprecatedTopology: map(string),
    hints: endpointHints,
  },
  { required: ['addresses'] },
);

export const endpointProtocol = enumeration(['TCP', 'UDP', 'SCTP']);

export const slicePort = message('discovery.v1.EndpointPort', {
  name: string,
  port: uint32,
  protocol: endpointProtocol,
  appProtocol: string,
});

/** Without `addressType` the addresses themselves say what they are. */
export const endpointSlice = message('discovery.v1.EndpointSlice', {
  addressType: enumeration(['IPv4', 'IPv6', 'FQDN']),
  endpoints: list(sliceEndpoint),
  ports: list(slicePort),
});

export const endpointsAddress = message(
  'v1.EndpointAddress',
  { ip: string, hostname: string, nodeName: string, targetRef: endpointTargetReference },
  { required: ['ip'] },
);

export const endpointsPort = message(
  'v1.EndpointPort',
  { name: string, port: uint32, protocol: endpointProtocol, appProtocol: string },
  { required: ['port'] },
);

export const endpointsSubset = message('v1.EndpointSubset', {
  addresses: list(endpointsAddress),
  notReadyAddresses: list(endpointsAddress),
  ports: list(endpointsPort),
});

export const kubernetesEndpoints = message('v1.Endpoints', { subsets: list(endpointsSubset) });
