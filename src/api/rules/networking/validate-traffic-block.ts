// Blocks of a traffic policy: connection pool, outlier detection, TLS to the destination.

import type { Findings } from '../../findings.ts';
import { below, child } from '../../reading/field-path.ts';
import type { ClientTLSSettings, ConnectionPoolSettings, OutlierDetection } from '../../specs.ts';
import { checkDuration, checkDurationOrZero } from '../../values/duration-text.ts';

export const checkConnectionPool = (pool: ConnectionPoolSettings, path: string, findings: Findings): void => {
  if (!pool.http && !pool.tcp) findings.error(path, 'connection pool must have at least one field', 'tcp or http');
  const { http, tcp } = pool;
  if (http) {
    const at = child(path, 'http');
    for (const field of [
      'http1MaxPendingRequests',
      'http2MaxRequests',
      'maxRequestsPerConnection',
      'maxRetries',
      'maxConcurrentStreams',
    ] as const) {
      if ((http[field] ?? 0) < 0) findings.error(child(at, field), `${field} must be non-negative`);
    }
    checkOptional(http.idleTimeout, child(at, 'idleTimeout'), findings);
    if (http.h2UpgradePolicy === 'UPGRADE' && http.useClientProtocol) {
      findings.error(child(at, 'useClientProtocol'), 'useClientProtocol must not be true when h2UpgradePolicy is UPGRADE');
    }
    if (http.http2KeepAlive) {
      const { interval, timeout } = http.http2KeepAlive;
      if (interval === undefined || timeout === undefined)
        findings.error(child(at, 'http2KeepAlive'), 'interval and timeout must both be set');
      checkOptional(interval, below(at, 'http2KeepAlive.interval'), findings);
      checkOptional(timeout, below(at, 'http2KeepAlive.timeout'), findings);
    }
  }
  if (tcp) {
    const at = child(path, 'tcp');
    if ((tcp.maxConnections ?? 0) < 0) findings.error(child(at, 'maxConnections'), 'maxConnections must be non-negative');
    checkOptional(tcp.connectTimeout, child(at, 'connectTimeout'), findings);
    checkOptional(tcp.maxConnectionDuration, child(at, 'maxConnectionDuration'), findings);
    // 0s turns the idle timeout off.
    if (tcp.idleTimeout !== undefined) findings.unless(child(at, 'idleTimeout'), checkDurationOrZero(tcp.idleTimeout));
    checkOptional(tcp.tcpKeepalive?.time, below(at, 'tcpKeepalive.time'), findings);
    checkOptional(tcp.tcpKeepalive?.interval, below(at, 'tcpKeepalive.interval'), findings);
  }
};

const checkOptional = (value: string | undefined, path: string, findings: Findings): void => {
  if (value !== undefined) findings.unless(path, checkDuration(value));
};

export const checkOutlierDetection = (outlier: OutlierDetection, path: string, findings: Findings): void => {
  checkOptional(outlier.baseEjectionTime, child(path, 'baseEjectionTime'), findings);
  checkOptional(outlier.interval, child(path, 'interval'), findings);
  if ((outlier.consecutiveErrors ?? 0) !== 0) {
    findings.warn(
      child(path, 'consecutiveErrors'),
      'consecutiveErrors is deprecated and ignored',
      'use consecutiveGatewayErrors or consecutive5xxErrors',
    );
  }
  if (!outlier.splitExternalLocalOriginErrors && (outlier.consecutiveLocalOriginFailures ?? 0) > 0) {
    findings.error(
      child(path, 'consecutiveLocalOriginFailures'),
      'needs splitExternalLocalOriginErrors: true',
      'set it, or remove the threshold',
    );
  }
  for (const field of ['maxEjectionPercent', 'minHealthPercent'] as const) {
    const value = outlier[field] ?? 0;
    if (value < 0 || value > 100) findings.error(child(path, field), `percentage ${value} is not in range 0..100`);
  }
};

const FILES = 'clientCertificate and privateKey name files, or credentialName a Secret; between sidecars write mode: ISTIO_MUTUAL';

const CONFIG_MAP = 'configmap://';

/** A ConfigMap of certificates stands in the namespace of the rule: `configmap://name` or `configmap://namespace/name`. */
const checkConfigMap = (name: string, path: string, findings: Findings, namespace: string): void => {
  if (!name.startsWith(CONFIG_MAP)) return;
  const parts = name.slice(CONFIG_MAP.length).split('/');
  const named = parts.length === 2 ? parts[0] : namespace;
  if (parts.length > 2 || parts.includes('')) findings.error(path, 'invalid configmap:// credentialName', 'configmap://name');
  else if (namespace === '' || named !== namespace)
    findings.error(
      path,
      `invalid configmap:// credentialName: namespace must match the configuration namespace ${JSON.stringify(namespace)}`,
    );
};

/** `namespace`: of the rule; empty where there is none. */
export const checkClientTls = (tls: ClientTLSSettings, path: string, findings: Findings, namespace = ''): void => {
  checkConfigMap(tls.credentialName ?? '', child(path, 'credentialName'), findings, namespace);
  const mode = tls.mode ?? 'DISABLE';
  const credential = (tls.credentialName ?? '') !== '';
  if (tls.insecureSkipVerify && (mode === 'SIMPLE' || mode === 'MUTUAL')) {
    const verified = tls.caCertificates || tls.subjectAltNames !== undefined || (mode === 'SIMPLE' && credential);
    if (verified)
      findings.error(child(path, 'insecureSkipVerify'), 'excludes caCertificates, subjectAltNames and (in mode SIMPLE) credentialName');
  }
  if ((mode === 'SIMPLE' || mode === 'MUTUAL') && credential) {
    if (!tls.clientCertificate && !tls.caCertificates && !tls.privateKey && !tls.caCrl) return;
    findings.error(
      child(path, 'credentialName'),
      'cannot specify client certificates or CA certificate or CA CRL if credentialName is set',
    );
    return;
  }
  if (mode !== 'MUTUAL') return;
  if (!tls.clientCertificate) findings.error(child(path, 'clientCertificate'), 'client certificate required for mutual tls', FILES);
  if (!tls.privateKey) findings.error(child(path, 'privateKey'), 'private key required for mutual tls', FILES);
};
