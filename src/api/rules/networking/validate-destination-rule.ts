// What Istio's webhook asks of a DestinationRule.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { DestinationRule, PortTrafficPolicy, TrafficPolicy } from '../../specs.ts';
import { checkFqdn, checkPort, checkWildcardDomain } from '../../values/host-name.ts';
import { isIp } from '../../values/ip-text.ts';
import { checkLabels, checkSelector } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';
import { checkSubsetName } from './validate-destination.ts';
import { checkExportTo } from './validate-export-to.ts';
import { checkLoadBalancer } from './validate-load-balancer.ts';
import { checkClientTls, checkConnectionPool, checkOutlierDetection } from './validate-traffic-block.ts';

export const checkDestinationRule: Check<DestinationRule> = (spec, path, findings, context) => {
  findings.unless(child(path, 'host'), checkWildcardDomain(spec.host ?? ''));
  if (spec.trafficPolicy) checkTrafficPolicy(spec.trafficPolicy, child(path, 'trafficPolicy'), findings, context.namespace);
  const names = new Set<string>();
  for (const [index, subset] of (spec.subsets ?? []).entries()) {
    const at = item(child(path, 'subsets'), index);
    const name = subset.name ?? '';
    if (names.has(name)) findings.error(child(at, 'name'), `duplicate subset names: ${name}`, 'each subset has a name of its own');
    names.add(name);
    checkSubsetName(name, child(at, 'name'), findings);
    checkLabels(subset.labels, child(at, 'labels'), findings);
    if (subset.trafficPolicy) checkTrafficPolicy(subset.trafficPolicy, child(at, 'trafficPolicy'), findings, context.namespace);
  }
  const rules = {
    namespace: context.namespace,
    allowNone: false,
    ownNamespaceOnly: spec.workloadSelector !== undefined && (spec.exportTo ?? []).length > 0,
  };
  checkExportTo(spec.exportTo, child(path, 'exportTo'), findings, rules);
  if (spec.workloadSelector) checkSelector(spec.workloadSelector.matchLabels, child(path, 'workloadSelector'), findings);
};

export const checkTrafficPolicy = (policy: TrafficPolicy, path: string, findings: Findings, namespace = ''): void => {
  if (Object.keys(policy).length === 0) {
    findings.error(
      path,
      'traffic policy must have at least one field',
      'remove it, or set loadBalancer, connectionPool, outlierDetection or tls',
    );
    return;
  }
  if (policy.tunnel && policy.proxyProtocol)
    findings.error(child(path, 'proxyProtocol'), 'tunnel and proxyProtocol must not be set together');
  checkBlocks(policy, path, findings, namespace);
  for (const [index, port] of (policy.portLevelSettings ?? []).entries()) {
    const at = item(child(path, 'portLevelSettings'), index);
    if (!port.port) findings.error(at, 'portLevelSettings must name a port', 'port: {number: 8080}');
    else findings.unless(child(at, 'port'), checkPort(port.port.number ?? 0));
    if (!port.outlierDetection && !port.connectionPool && !port.loadBalancer && !port.tls) {
      findings.error(at, 'port traffic policy must have at least one field');
    } else checkBlocks(port, at, findings, namespace);
  }
  if (policy.tunnel) checkTunnel(policy.tunnel, child(path, 'tunnel'), findings);
};

const checkBlocks = (
  policy: Pick<PortTrafficPolicy, 'outlierDetection' | 'connectionPool' | 'loadBalancer' | 'tls'>,
  path: string,
  findings: Findings,
  namespace: string,
): void => {
  if (policy.outlierDetection) checkOutlierDetection(policy.outlierDetection, child(path, 'outlierDetection'), findings);
  if (policy.connectionPool) checkConnectionPool(policy.connectionPool, child(path, 'connectionPool'), findings);
  if (policy.loadBalancer)
    checkLoadBalancer(policy.loadBalancer, child(path, 'loadBalancer'), findings, policy.outlierDetection !== undefined);
  if (policy.tls) checkClientTls(policy.tls, child(path, 'tls'), findings, namespace);
};

const checkTunnel = (tunnel: NonNullable<TrafficPolicy['tunnel']>, path: string, findings: Findings): void => {
  if (!['', 'CONNECT', 'POST'].includes(tunnel.protocol ?? ''))
    findings.error(child(path, 'protocol'), 'tunnel protocol must be "CONNECT" or "POST"');
  const host = tunnel.targetHost ?? '';
  if (checkFqdn(host) !== undefined && !isIp(host))
    findings.error(child(path, 'targetHost'), 'tunnel target host must be valid FQDN or IP address');
  findings.unless(child(path, 'targetPort'), checkPort(tunnel.targetPort ?? 0));
};
