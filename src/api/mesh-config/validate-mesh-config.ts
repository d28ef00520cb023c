// What Istio asks of MeshConfig: ports, durations, names, addresses, provider blocks.

import type { Findings } from '../findings.ts';
import { below, child, item } from '../reading/field-path.ts';
import { checkRetry } from '../rules/networking/validate-http-action.ts';
import { checkLocality } from '../rules/networking/validate-load-balancer.ts';
import { checkClientTls, checkConnectionPool, checkOutlierDetection } from '../rules/networking/validate-traffic-block.ts';
import type { HttpRetry, MeshConfigSpec, MeshProxyConfigSpec } from '../specs.ts';
import { checkDuration, checkDurationOrZero, parseDuration } from '../values/duration-text.ts';
import { checkFqdn, checkHostPort, checkPort, checkTrustDomain, checkWildcardDomain } from '../values/host-name.ts';
import { isIp } from '../values/ip-text.ts';

const CONNECT_TIMEOUT_MAX = 3_600_000_000_000n;

/** `config` is what was written, before defaults. */
export const checkMeshConfig = (config: MeshConfigSpec, findings: Findings): void => {
  for (const field of ['proxyListenPort', 'proxyInboundListenPort'] as const) {
    const port = config[field];
    if (port !== undefined) findings.unless(field, checkPort(port));
  }
  if (config.connectTimeout !== undefined) {
    findings.unless('connectTimeout', checkDuration(config.connectTimeout));
    if ((parseDuration(config.connectTimeout) ?? 0n) > CONNECT_TIMEOUT_MAX) findings.error('connectTimeout', 'must be at most 1h');
  }
  if (config.protocolDetectionTimeout !== undefined) {
    findings.unless('protocolDetectionTimeout', checkDurationOrZero(config.protocolDetectionTimeout));
  }
  if (config.dnsRefreshRate !== undefined) findings.unless('dnsRefreshRate', checkDuration(config.dnsRefreshRate));
  if (config.trustDomain !== undefined) findings.unless('trustDomain', checkTrustDomain(config.trustDomain));
  for (const [index, alias] of (config.trustDomainAliases ?? []).entries()) {
    findings.unless(item('trustDomainAliases', index), checkTrustDomain(alias));
  }
  for (const [index, { trustDomains = [] }] of (config.caCertificates ?? []).entries()) {
    const path = child(item('caCertificates', index), 'trustDomains');
    for (const [i, name] of trustDomains.entries()) findings.unless(item(path, i), checkTrustDomain(name));
  }
  if (config.localityLbSetting) checkLocality(config.localityLbSetting, 'localityLbSetting', findings, true);
  if (config.defaultHttpRetryPolicy) checkRetry(config.defaultHttpRetryPolicy, 'defaultHttpRetryPolicy', findings);
  if (config.defaultInboundHttpRetryPolicy)
    checkInboundRetry(config.defaultInboundHttpRetryPolicy, 'defaultInboundHttpRetryPolicy', findings);
  if (config.defaultTrafficPolicy) checkDefaultTrafficPolicy(config.defaultTrafficPolicy, 'defaultTrafficPolicy', findings);
  for (const [index, settings] of (config.serviceSettings ?? []).entries()) {
    for (const [i, host] of (settings.hosts ?? []).entries()) {
      findings.unless(item(child(item('serviceSettings', index), 'hosts'), i), checkWildcardDomain(host));
    }
  }
  warnCurves(config.tlsDefaults?.ecdhCurves ?? [], 'tlsDefaults.ecdhCurves', findings);
  if (config.meshMTLS?.ecdhCurves) findings.error('meshMTLS.ecdhCurves', 'mesh TLS does not support ECDH curves configuration');
  if (config.defaultConfig) checkProxyConfig(config.defaultConfig, 'defaultConfig', findings);
  checkProviders(config, findings);
};

export const checkDefaultTrafficPolicy = (
  policy: NonNullable<MeshConfigSpec['defaultTrafficPolicy']>,
  path: string,
  findings: Findings,
): void => {
  if (policy.connectionPool) checkConnectionPool(policy.connectionPool, child(path, 'connectionPool'), findings);
  if (policy.outlierDetection) checkOutlierDetection(policy.outlierDetection, child(path, 'outlierDetection'), findings);
};

/** Of a retry towards one's own application only attempts, retryOn and backoff mean something. */
export const checkInboundRetry = (retries: HttpRetry, path: string, findings: Findings): void => {
  checkRetry(retries, path, findings);
  for (const field of ['perTryTimeout', 'retryRemoteLocalities', 'retryIgnorePreviousHosts'] as const) {
    if (retries[field] !== undefined) findings.warn(child(path, field), `${field} has no effect on inbound retries`);
  }
};

const curves: ReadonlySet<string> = new Set(['P-256', 'P-384', 'P-521', 'X25519', 'X25519MLKEM768']);

const warnCurves = (written: readonly string[], path: string, findings: Findings): void => {
  for (const [index, curve] of written.entries()) {
    if (!curves.has(curve)) findings.warn(item(path, index), `unrecognized ECDH curve ${JSON.stringify(curve)}`, [...curves].join(', '));
    else if (written.indexOf(curve) < index) findings.warn(item(path, index), `duplicate ECDH curve ${JSON.stringify(curve)}`);
  }
};

export const checkProxyConfig = (config: MeshProxyConfigSpec, path: string, findings: Findings): void => {
  for (const field of ['proxyAdminPort', 'statusPort'] as const) {
    const port = config[field];
    if (port !== undefined) findings.unless(child(path, field), checkPort(port));
  }
  if (config.drainDuration !== undefined) {
    const at = child(path, 'drainDuration');
    findings.unless(at, checkDuration(config.drainDuration));
    if ((parseDuration(config.drainDuration) ?? 0n) % 1_000_000_000n !== 0n)
      findings.error(at, 'drain time only supports durations to seconds precision');
  }
  if (config.controlPlaneAuthPolicy === 'INHERIT') findings.error(child(path, 'controlPlaneAuthPolicy'), 'must be NONE or MUTUAL_TLS');
  const address = (field: string, value: string | undefined): void => {
    if (value !== undefined && value !== '') findings.unless(child(path, field), checkHostPort(value.replace('$(HOST_IP)', '127.0.0.1')));
  };
  // Left out they have defaults; written they name something.
  for (const field of ['configPath', 'binaryPath', 'serviceCluster', 'discoveryAddress'] as const)
    if (config[field] === '') findings.error(child(path, field), 'must not be empty', 'leave it out for the default');
  if (config.proxyMetadata?.['ISTIO_META_DNS_AUTO_ALLOCATE'] !== undefined) {
    const at = child(path, 'proxyMetadata.ISTIO_META_DNS_AUTO_ALLOCATE');
    findings.warn(at, "'ISTIO_META_DNS_AUTO_ALLOCATE' is deprecated", 'addresses are allocated without it');
  }
  address('discoveryAddress', config.discoveryAddress);
  address('statsdUdpAddress', config.statsdUdpAddress);
  address('envoyMetricsServiceAddress', config.envoyMetricsServiceAddress);
  address('envoyMetricsService.address', config.envoyMetricsService?.address);
  address('envoyAccessLogService.address', config.envoyAccessLogService?.address);
  checkTracing(config.tracing, child(path, 'tracing'), findings);
  const provider = config.privateKeyProvider;
  const engine = provider?.cryptomb ?? provider?.qat;
  if (provider && !engine) findings.error(child(path, 'privateKeyProvider'), 'private key provider configuration is required');
  if (engine && (parseDuration(engine.pollDelay ?? '0s') ?? 0n) === 0n)
    findings.error(child(path, 'privateKeyProvider'), 'pollDelay must be set');
  if (config.connectionSettings) checkConnectionSettings(config.connectionSettings, child(path, 'connectionSettings'), findings);
};

const checkTracing = (tracing: MeshProxyConfigSpec['tracing'], path: string, findings: Findings): void => {
  if (!tracing) return;
  for (const tracer of ['zipkin', 'lightstep', 'datadog'] as const) {
    const settings = tracing[tracer];
    if (settings)
      findings.unless(below(path, `${tracer}.address`), checkHostPort((settings.address ?? '').replace('$(HOST_IP)', '127.0.0.1')));
  }
  if (tracing.lightstep && !tracing.lightstep.accessToken) findings.error(child(path, 'lightstep'), 'access token is required');
  if (tracing.tlsSettings) checkClientTls(tracing.tlsSettings, child(path, 'tlsSettings'), findings);
};

const H2_WINDOW_MIN = 65_535;

export const checkConnectionSettings = (
  settings: NonNullable<MeshProxyConfigSpec['connectionSettings']>,
  path: string,
  findings: Findings,
): void => {
  for (const [field, value] of Object.entries(settings)) {
    const at = child(path, field);
    if (typeof value === 'number' && value < 0) findings.error(at, `${field} must be non-negative`);
    else if (field.endsWith('WindowSize') && typeof value === 'number' && value < H2_WINDOW_MIN) {
      findings.error(at, `${field} must be at least ${H2_WINDOW_MIN}`);
    }
    if (/(?:Timeout|Duration)$/.test(field) && typeof value === 'string') findings.unless(at, checkDurationOrZero(value));
  }
};

const checkProviders = (config: MeshConfigSpec, findings: Findings): void => {
  const names = new Set<string>();
  for (const [index, provider] of (config.extensionProviders ?? []).entries()) {
    const path = item('extensionProviders', index);
    const { name = '', ...blocks } = provider;
    if (name === '') findings.error(path, 'a provider needs a name');
    else if (names.has(name)) findings.error(child(path, 'name'), `duplicate provider name ${name}`);
    names.add(name);
    const [kind, block] = Object.entries(blocks)[0] ?? [];
    if (kind === undefined || typeof block !== 'object')
      findings.error(path, 'a provider needs one block that says what it is', 'envoyFileAccessLog, prometheus, zipkin, …');
    else checkProvider(kind, block, child(path, kind), findings);
  }
};

/** Every provider that is reached over the network has a service and a port. */
export const checkProvider = (kind: string, block: object, path: string, findings: Findings): void => {
  if (kind === 'prometheus' || kind === 'stackdriver' || kind === 'envoyFileAccessLog') return;
  const service = 'service' in block ? String(block.service) : '';
  const port = 'port' in block && typeof block.port === 'number' ? block.port : 0;
  findings.unless(child(path, 'service'), checkProviderService(service));
  findings.unless(child(path, 'port'), checkPort(port));
  if (kind === 'lightstep' && !('accessToken' in block && block.accessToken)) findings.error(path, 'access token is required');
  if (kind === 'opentelemetry' && 'http' in block && 'grpc' in block) findings.error(path, 'only one of http or grpc may be set');
};

/** `[namespace/]host`, the host a name or an address, never with a port. */
export const checkProviderService = (service: string): string | undefined => {
  if (service === '') return 'service must not be empty';
  const parts = service.split('/');
  const host = parts.at(-1) ?? '';
  if (parts.length > 2 || parts.includes('')) return `invalid service ${JSON.stringify(service)}: must be "host" or "namespace/host"`;
  return isIp(host) ? undefined : checkFqdn(host);
};
