// Mesh-wide settings: Istio's MeshConfig read from YAML or JSON, with Istio's defaults filled in.

import { err, ok, type Result } from '../../base/result.ts';
import { Findings } from '../findings.ts';
import { hasErrors, type Problem } from '../problem.ts';
import { nodeOf, offsetAt } from '../reading/document-node.ts';
import { readValue } from '../reading/read-value.ts';
import { readYaml } from '../reading/yaml-documents.ts';
import { meshConfig } from '../schema/mesh-config.ts';
import type { MeshConfigSpec, MeshProxyConfigSpec } from '../specs.ts';
import { warnUnsupported } from '../support/check-support.ts';
import { meshConfigSupport } from '../support/mesh-config-support.ts';
import { checkMeshRefusals } from '../support/proxy-refusals.ts';
import { checkMeshConfig } from './validate-mesh-config.ts';

export type ExtensionProvider = NonNullable<MeshConfigSpec['extensionProviders']>[number];

type Filled<T, K extends keyof T> = Omit<T, K> & { readonly [F in K]-?: NonNullable<T[F]> };

/** `ProxyConfig` with the defaults that Istio fills in. Durations are canonical seconds. */
export type MeshProxyConfig = Filled<
  MeshProxyConfigSpec,
  | 'drainDuration'
  | 'terminationDrainDuration'
  | 'proxyAdminPort'
  | 'statusPort'
  | 'discoveryAddress'
  | 'controlPlaneAuthPolicy'
  | 'statNameLength'
  | 'proxyMetadata'
>;

/** MeshConfig with the defaults that Istio fills in; what stays optional has no default. */
export type MeshConfig = Filled<
  Omit<MeshConfigSpec, 'defaultConfig' | 'outboundTrafficPolicy' | 'inboundTrafficPolicy' | 'pathNormalization'>,
  | 'proxyListenPort'
  | 'proxyInboundListenPort'
  | 'connectTimeout'
  | 'dnsRefreshRate'
  | 'protocolDetectionTimeout'
  | 'trustDomain'
  | 'trustDomainAliases'
  | 'rootNamespace'
  | 'enableAutoMtls'
  | 'localityLbSetting'
  | 'defaultServiceExportTo'
  | 'defaultVirtualServiceExportTo'
  | 'defaultDestinationRuleExportTo'
  | 'accessLogFile'
  | 'accessLogFormat'
  | 'accessLogEncoding'
  | 'enableTracing'
  | 'enablePrometheusMerge'
  | 'ingressControllerMode'
  | 'ingressClass'
  | 'h2UpgradePolicy'
  | 'extensionProviders'
  | 'defaultProviders'
> & {
  readonly defaultConfig: MeshProxyConfig;
  readonly outboundTrafficPolicy: { readonly mode: 'REGISTRY_ONLY' | 'ALLOW_ANY' | 'ALLOW_ANY_DYNAMIC_DNS' };
  readonly inboundTrafficPolicy: { readonly mode: 'PASSTHROUGH' | 'LOCALHOST' };
  readonly pathNormalization: { readonly normalization: 'DEFAULT' | 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES' };
};

/** On success `problems` holds warnings only; on failure at least one error, every one that was found. */
export interface MeshConfigRead {
  readonly config: MeshConfig;
  readonly problems: readonly Problem[];
}

/**
 * One document, as Istio's file or ConfigMap key `mesh`. Unknown keys and wrong values are errors; keys that have no effect yet are
 * warnings. An empty text gives the defaults.
 */
export const parseMeshConfig = (file: string, text: string): Result<MeshConfigRead, readonly Problem[]> => {
  const yaml = readYaml(file, text);
  const problems: Problem[] = yaml.documents.flatMap((d) => d.problems);
  const roots = yaml.documents.flatMap((d) => (d.root ? [d.root] : []));
  const root = roots[0] ?? nodeOf({});
  const findings = new Findings();
  if (roots.length > 1) findings.add('error', 'NOT_AN_OBJECT', '', 'a mesh configuration is one document');
  const written = readValue(meshConfig, root, '', findings);
  if (!findings.failed) checkMeshConfig(written, findings);
  if (!findings.failed) checkMeshRefusals(written, findings);
  warnUnsupported('MeshConfig', meshConfigSupport, written, findings);
  for (const { code, severity, path, message, hint } of findings.list) {
    const position = yaml.position(offsetAt(root, path));
    problems.push({ code, severity, file, ...position, path, message, ...(hint === undefined ? {} : { hint }) });
  }
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  return hasErrors(problems) ? err(problems) : ok({ config: withDefaults(written), problems });
};

/** Settings of a mesh for which nothing was written. */
export const defaultMeshConfig = (): MeshConfig => withDefaults({});

const withDefaults = (written: MeshConfigSpec): MeshConfig => ({
  ...written,
  proxyListenPort: written.proxyListenPort || 15001,
  proxyInboundListenPort: written.proxyInboundListenPort || 15006,
  connectTimeout: written.connectTimeout ?? '10s',
  dnsRefreshRate: written.dnsRefreshRate ?? '60s',
  protocolDetectionTimeout: written.protocolDetectionTimeout ?? '0s',
  trustDomain: written.trustDomain || 'cluster.local',
  trustDomainAliases: written.trustDomainAliases ?? [],
  rootNamespace: written.rootNamespace || 'istio-system',
  enableAutoMtls: written.enableAutoMtls ?? true,
  localityLbSetting: { enabled: true, ...written.localityLbSetting },
  defaultServiceExportTo: written.defaultServiceExportTo ?? ['*'],
  defaultVirtualServiceExportTo: written.defaultVirtualServiceExportTo ?? ['*'],
  defaultDestinationRuleExportTo: written.defaultDestinationRuleExportTo ?? ['*'],
  accessLogFile: written.accessLogFile ?? '',
  accessLogFormat: written.accessLogFormat ?? '',
  accessLogEncoding: written.accessLogEncoding ?? 'TEXT',
  enableTracing: written.enableTracing ?? true,
  enablePrometheusMerge: written.enablePrometheusMerge ?? true,
  ingressControllerMode: written.ingressControllerMode ?? 'STRICT',
  ingressClass: written.ingressClass ?? 'istio',
  h2UpgradePolicy: written.h2UpgradePolicy ?? 'DO_NOT_UPGRADE',
  extensionProviders: mergedProviders(written.extensionProviders ?? []),
  defaultProviders: written.defaultProviders ?? {},
  outboundTrafficPolicy: { mode: 'ALLOW_ANY', ...written.outboundTrafficPolicy },
  inboundTrafficPolicy: { mode: 'PASSTHROUGH', ...written.inboundTrafficPolicy },
  pathNormalization: { normalization: 'DEFAULT', ...written.pathNormalization },
  defaultConfig: {
    drainDuration: '45s',
    terminationDrainDuration: '5s',
    proxyAdminPort: 15000,
    statusPort: 15020,
    discoveryAddress: 'istiod.istio-system.svc:15012',
    controlPlaneAuthPolicy: 'MUTUAL_TLS',
    statNameLength: 189,
    proxyMetadata: {},
    ...written.defaultConfig,
  },
});

/** A service that is always there: the control plane itself, as a collector of spans by OTLP over gRPC. */
export const CONTROL_PLANE_COLLECTOR = 'control-plane.skein.internal';

/** The built-in providers, then those written; one of the same name takes the built-in's place. */
const mergedProviders = (written: readonly ExtensionProvider[]): ExtensionProvider[] => {
  const builtIn: ExtensionProvider[] = [
    { name: 'prometheus', prometheus: {} },
    { name: 'stackdriver', stackdriver: {} },
    { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } },
    // Ours: spans that `skein trace` shows.
    { name: 'skein', opentelemetry: { service: CONTROL_PLANE_COLLECTOR, port: 4317 } },
  ];
  return [...builtIn.filter((b) => !written.some((w) => w.name === b.name)), ...written];
};
