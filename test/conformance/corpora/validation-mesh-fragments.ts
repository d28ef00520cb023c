// Checks of parts of MeshConfig, by the type that rows of validation.json name.

import { checkMeshNetworks } from '../../../src/api/mesh-config/mesh-networks.ts';
import * as mesh from '../../../src/api/mesh-config/validate-mesh-config.ts';
import { meshConfigDefaultTrafficPolicy } from '../../../src/api/schema/mesh-config.ts';
import { meshNetworks } from '../../../src/api/schema/mesh-networks.ts';
import { authenticationPolicy, proxyConfig, proxyConfigConnectionSettings } from '../../../src/api/schema/mesh-proxy-config.ts';
import * as vs from '../../../src/api/schema/virtual-service.ts';
import { checkWildcardDomain } from '../../../src/api/values/host-name.ts';
import { row, texts } from './case.ts';
import { type Fragment, part, word } from './validation-fragments.ts';

const provider =
  (kind: string): Fragment =>
  (input, _extra, findings) =>
    mesh.checkProvider(kind, input as object, '', findings);

/** These rows come after Istio's defaults: what is not there is empty, not the default. */
const EMPTY = { configPath: '', binaryPath: '', discoveryAddress: '', proxyAdminPort: 0, statusPort: 0, drainDuration: '0s' };

export const meshFragments: Readonly<Record<string, Fragment>> = {
  'mesh.ProxyConfig': (input, extra, findings) =>
    part(proxyConfig, (v, f) => mesh.checkProxyConfig(v, '', f))({ ...EMPTY, ...row(input) }, extra, findings),
  ConnectionSettings: part(proxyConfigConnectionSettings, (v, f) => mesh.checkConnectionSettings(v, '', f)),
  DefaultTrafficPolicy: part(meshConfigDefaultTrafficPolicy, (v, f) => mesh.checkDefaultTrafficPolicy(v, '', f)),
  'HTTPRetry(meshInbound)': part(vs.httpRetry, (v, f) => mesh.checkInboundRetry(v, '', f)),
  'serviceSettings.hosts': (input, _extra, findings) => {
    for (const host of texts(input)) findings.unless('', checkWildcardDomain(host));
  },
  MeshNetworks: part(meshNetworks, (v, f) => checkMeshNetworks(v, f)),
  authPolicy: part(authenticationPolicy, (v, f) => mesh.checkProxyConfig({ controlPlaneAuthPolicy: v }, '', f)),
  ExtensionProviderService: word((v) => mesh.checkProviderService(v)),
  ExtensionProviderTracingZipkin: provider('zipkin'),
  ExtensionProviderTracingLightstep: provider('lightstep'),
  ExtensionProviderTracingDatadog: provider('datadog'),
  ExtensionProviderTracingOpenCensusAgent: provider('opencensus'),
  ExtensionProviderTracingOpentelemetry: provider('opentelemetry'),
  ExtensionProviderEnvoyHTTPAls: provider('envoyHttpAls'),
  ExtensionProviderEnvoyTCPAls: provider('envoyTcpAls'),
};
