// Which keys of MeshConfig have an effect in this version, as data in the notation of support.ts. The others are accepted with a
// warning: none of them opens anything when it is left out. What would is refused below.

import type { KindSupport } from './support.ts';

export const meshConfigSupport: KindSupport = {
  supported: [
    '{proxyListenPort,proxyInboundListenPort,connectTimeout,dnsRefreshRate,protocolDetectionTimeout,tcpKeepalive.**}',
    '{accessLogFile,accessLogFormat,accessLogEncoding}',
    '{trustDomain,trustDomainAliases,rootNamespace,enableAutoMtls}',
    '{outboundTrafficPolicy.mode,inboundTrafficPolicy.mode}',
    '{defaultServiceExportTo,defaultVirtualServiceExportTo,defaultDestinationRuleExportTo}',
    '{localityLbSetting,pathNormalization,defaultHttpRetryPolicy}.**',
    'defaultProviders.metrics',
    'h2UpgradePolicy',
    'extensionProviders.{name,prometheus.**}',
    'defaultConfig.gatewayTopology.numTrustedProxies',
  ],
  refused: [
    { path: 'outboundTrafficPolicy.mode', values: ['ALLOW_ANY_DYNAMIC_DNS'], message: 'ALLOW_ANY_DYNAMIC_DNS is not yet supported' },
    { path: 'inboundTrafficPolicy.mode', values: ['LOCALHOST'], message: 'inboundTrafficPolicy LOCALHOST is not yet supported' },
  ],
};
