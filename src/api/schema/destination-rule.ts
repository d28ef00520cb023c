// The fields of Istio's destination rule messages (networking v1alpha3). Facts only: what they mean is checked elsewhere.

import { bool, double, duration, enumeration, int32, list, map, message, string, uint32, uint64 } from './schema.ts';
import { workloadSelector } from './selector.ts';
import { portSelector } from './virtual-service.ts';

export const trafficPolicyProxyProtocolVERSION = enumeration(['V1', 'V2']);

export const loadBalancerSettingsSimpleLB = enumeration([
  'UNSPECIFIED',
  'LEAST_CONN',
  'RANDOM',
  'PASSTHROUGH',
  'ROUND_ROBIN',
  'LEAST_REQUEST',
]);

export const connectionPoolSettingsHTTPSettingsH2UpgradePolicy = enumeration(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE']);

export const clientTLSSettingsTLSmode = enumeration(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL']);

export const loadBalancerSettingsConsistentHashLBHTTPCookieAttribute = message(
  'LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute',
  {
    name: string,
    value: string,
  },
  { required: ['name'] },
);

export const loadBalancerSettingsConsistentHashLBHTTPCookie = message(
  'LoadBalancerSettings.ConsistentHashLB.HTTPCookie',
  {
    name: string,
    path: string,
    ttl: duration,
    attributes: list(loadBalancerSettingsConsistentHashLBHTTPCookieAttribute),
  },
  { required: ['name'], limits: { ttl: { anyDuration: true } } },
);

export const loadBalancerSettingsConsistentHashLBRingHash = message('LoadBalancerSettings.ConsistentHashLB.RingHash', {
  minimumRingSize: uint64,
});

export const loadBalancerSettingsConsistentHashLBMagLev = message('LoadBalancerSettings.ConsistentHashLB.MagLev', {
  tableSize: uint64,
});

export const loadBalancerSettingsConsistentHashLB = message(
  'LoadBalancerSettings.ConsistentHashLB',
  {
    httpHeaderName: string,
    httpCookie: loadBalancerSettingsConsistentHashLBHTTPCookie,
    useSourceIp: bool,
    httpQueryParameterName: string,
    ringHash: loadBalancerSettingsConsistentHashLBRingHash,
    maglev: loadBalancerSettingsConsistentHashLBMagLev,
    minimumRingSize: uint64,
  },
  {
    oneofs: [
      ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'],
      ['ringHash', 'maglev'],
    ],
    deprecated: ['minimumRingSize'],
  },
);

export const localityLoadBalancerSettingDistribute = message('LocalityLoadBalancerSetting.Distribute', {
  from: string,
  to: map(uint32),
});

export const localityLoadBalancerSettingFailover = message('LocalityLoadBalancerSetting.Failover', {
  from: string,
  to: string,
});

export const localityLoadBalancerSetting = message('LocalityLoadBalancerSetting', {
  distribute: list(localityLoadBalancerSettingDistribute),
  failover: list(localityLoadBalancerSettingFailover),
  failoverPriority: list(string),
  enabled: bool,
});

export const zoneAwareLoadBalancerSettingFailover = message('ZoneAwareLoadBalancerSetting.Failover', {
  from: string,
  to: string,
});

export const zoneAwareLoadBalancerSetting = message(
  'ZoneAwareLoadBalancerSetting',
  {
    enabled: bool,
    failover: list(zoneAwareLoadBalancerSettingFailover),
    failoverPriority: list(string),
    minClusterSize: uint64,
  },
  { limits: { minClusterSize: { minimum: 1 } } },
);

export const warmupConfiguration = message(
  'WarmupConfiguration',
  {
    duration: duration,
    minimumPercent: double,
    aggression: double,
  },
  { required: ['duration'], limits: { minimumPercent: { maximum: 100, minimum: 0 }, aggression: { minimum: 0 } } },
);

export const loadBalancerSettings = message(
  'LoadBalancerSettings',
  {
    simple: loadBalancerSettingsSimpleLB,
    consistentHash: loadBalancerSettingsConsistentHashLB,
    localityLbSetting: localityLoadBalancerSetting,
    zoneAwareLbSetting: zoneAwareLoadBalancerSetting,
    warmupDurationSecs: duration,
    warmup: warmupConfiguration,
  },
  { oneofs: [['simple', 'consistentHash']] },
);

export const connectionPoolSettingsTCPSettingsTcpKeepalive = message('ConnectionPoolSettings.TCPSettings.TcpKeepalive', {
  probes: uint32,
  time: duration,
  interval: duration,
});

export const connectionPoolSettingsTCPSettings = message(
  'ConnectionPoolSettings.TCPSettings',
  {
    maxConnections: int32,
    connectTimeout: duration,
    tcpKeepalive: connectionPoolSettingsTCPSettingsTcpKeepalive,
    maxConnectionDuration: duration,
    idleTimeout: duration,
  },
  { limits: { idleTimeout: { anyDuration: true } } },
);

export const connectionPoolSettingsHTTPSettingsConnectionKeepalive = message('ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive', {
  interval: duration,
  timeout: duration,
});

export const connectionPoolSettingsHTTPSettings = message('ConnectionPoolSettings.HTTPSettings', {
  http1MaxPendingRequests: int32,
  http2MaxRequests: int32,
  maxRequestsPerConnection: int32,
  maxRetries: int32,
  idleTimeout: duration,
  h2UpgradePolicy: connectionPoolSettingsHTTPSettingsH2UpgradePolicy,
  useClientProtocol: bool,
  maxConcurrentStreams: int32,
  http2KeepAlive: connectionPoolSettingsHTTPSettingsConnectionKeepalive,
});

export const connectionPoolSettings = message('ConnectionPoolSettings', {
  tcp: connectionPoolSettingsTCPSettings,
  http: connectionPoolSettingsHTTPSettings,
});

export const outlierDetection = message(
  'OutlierDetection',
  {
    consecutiveErrors: int32,
    splitExternalLocalOriginErrors: bool,
    consecutiveLocalOriginFailures: uint32,
    consecutiveGatewayErrors: uint32,
    consecutive5xxErrors: uint32,
    interval: duration,
    baseEjectionTime: duration,
    maxEjectionPercent: int32,
    minHealthPercent: int32,
    outlierDetectionHttpErrorCodes: list(uint32),
  },
  { deprecated: ['consecutiveErrors'], limits: { outlierDetectionHttpErrorCodes: { each: { minimum: 100, maximum: 599 } } } },
);

export const clientTLSSettings = message('ClientTLSSettings', {
  mode: clientTLSSettingsTLSmode,
  clientCertificate: string,
  privateKey: string,
  caCertificates: string,
  credentialName: string,
  subjectAltNames: list(string),
  sni: string,
  insecureSkipVerify: bool,
  caCrl: string,
});

export const trafficPolicyPortTrafficPolicy = message('TrafficPolicy.PortTrafficPolicy', {
  port: portSelector,
  loadBalancer: loadBalancerSettings,
  connectionPool: connectionPoolSettings,
  outlierDetection: outlierDetection,
  tls: clientTLSSettings,
});

export const trafficPolicyTunnelSettings = message(
  'TrafficPolicy.TunnelSettings',
  {
    protocol: string,
    targetHost: string,
    targetPort: uint32,
  },
  { required: ['targetHost', 'targetPort'] },
);

export const trafficPolicyProxyProtocol = message('TrafficPolicy.ProxyProtocol', {
  version: trafficPolicyProxyProtocolVERSION,
});

export const trafficPolicyRetryBudget = message(
  'TrafficPolicy.RetryBudget',
  {
    percent: double,
    minRetryConcurrency: uint32,
    budgetInterval: duration,
  },
  { limits: { percent: { maximum: 100, minimum: 0 }, budgetInterval: { anyDuration: true } } },
);

export const trafficPolicy = message(
  'TrafficPolicy',
  {
    loadBalancer: loadBalancerSettings,
    connectionPool: connectionPoolSettings,
    outlierDetection: outlierDetection,
    tls: clientTLSSettings,
    portLevelSettings: list(trafficPolicyPortTrafficPolicy),
    tunnel: trafficPolicyTunnelSettings,
    proxyProtocol: trafficPolicyProxyProtocol,
    retryBudget: trafficPolicyRetryBudget,
  },
  { limits: { portLevelSettings: { maxItems: 4096 } } },
);

export const subset = message(
  'Subset',
  {
    name: string,
    labels: map(string),
    trafficPolicy: trafficPolicy,
  },
  { required: ['name'] },
);

export const destinationRule = message(
  'DestinationRule',
  {
    host: string,
    trafficPolicy: trafficPolicy,
    subsets: list(subset),
    exportTo: list(string),
    workloadSelector: workloadSelector,
  },
  { required: ['host'] },
);
