// What Istio's webhook asks of a ServiceEntry.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { ServiceEntry } from '../../specs.ts';
import { checkFqdn, checkNoPartialWildcard, checkPort, checkPortName, checkWildcardDomain } from '../../values/host-name.ts';
import { checkSubnet } from '../../values/ip-text.ts';
import { checkSelector } from '../../values/label-text.ts';
import { checkProtocol, protocolFamily } from '../../values/protocol-name.ts';
import type { Check } from '../validate-context.ts';
import { checkExportTo } from './validate-export-to.ts';
import { checkEndpoint } from './validate-workload-entry.ts';

const AUTO_ALLOCATE_LABEL = 'networking.istio.io/enable-autoallocate-ip';

export const checkServiceEntry: Check<ServiceEntry> = (spec, path, findings, context) => {
  const resolution = spec.resolution ?? 'NONE';
  if (spec.workloadSelector) checkSelector(spec.workloadSelector.labels, child(path, 'workloadSelector'), findings);
  if (spec.workloadSelector && spec.endpoints) {
    findings.error(child(path, 'endpoints'), 'only one of WorkloadSelector or Endpoints is allowed in Service Entry');
  }
  checkHosts(spec, path, findings, resolution);
  for (const [index, address] of (spec.addresses ?? []).entries()) {
    const at = item(child(path, 'addresses'), index);
    findings.unless(at, checkSubnet(address));
    if (address.includes('/') && resolution !== 'NONE' && resolution !== 'STATIC') {
      findings.error(
        at,
        'CIDR addresses are allowed only for NONE/STATIC resolution types',
        'write single addresses, or another resolution',
      );
    }
  }
  const optedOut = context.labels?.[AUTO_ALLOCATE_LABEL]?.toLowerCase() === 'false';
  checkPorts(spec, path, findings, resolution, resolution !== 'NONE' && !optedOut);
  checkEndpoints(spec, path, findings, resolution);
  if (spec.workloadSelector && (resolution === 'NONE' || resolution === 'DYNAMIC_DNS')) {
    findings.warn(child(path, 'workloadSelector'), `workloadSelector should not be set when resolution mode is ${resolution}`);
  }
  const rules = { namespace: context.namespace, allowNone: true, ownNamespaceOnly: false };
  checkExportTo(spec.exportTo, child(path, 'exportTo'), findings, rules);
};

const checkHosts = (spec: ServiceEntry, path: string, findings: Findings, resolution: string): void => {
  const hosts = spec.hosts ?? [];
  if (hosts.length === 0) findings.error(path, 'service entry must have at least one host');
  const needsFqdn = (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN') && !spec.endpoints?.length;
  for (const [index, host] of hosts.entries()) {
    const at = item(child(path, 'hosts'), index);
    if (host === '*') {
      findings.error(at, 'invalid host *', 'name the hosts, such as "api.example.com" or "*.example.com"');
      continue;
    }
    findings.unless(at, checkWildcardDomain(host));
    const partial = resolution === 'DYNAMIC_DNS' ? undefined : checkNoPartialWildcard(host);
    if (partial !== undefined) findings.warn(at, partial);
    if (resolution === 'DYNAMIC_DNS' && !host.startsWith('*.'))
      findings.error(at, 'resolution DYNAMIC_DNS needs wildcard hosts such as "*.example.com"');
    if (needsFqdn && checkFqdn(host) !== undefined) {
      findings.error(at, `hosts must be FQDN if no endpoints are provided for resolution mode ${resolution}`);
    }
  }
};

/** `allocated`: the entry gets an address if it names none. */
const checkPorts = (spec: ServiceEntry, path: string, findings: Findings, resolution: string, allocated: boolean): void => {
  const names = new Set<string>();
  const numbers = new Set<number>();
  const several = (spec.hosts ?? []).length > 1;
  for (const [index, port] of (spec.ports ?? []).entries()) {
    const at = item(child(path, 'ports'), index);
    const name = port.name ?? '';
    const number = port.number ?? 0;
    if (names.has(name)) findings.error(child(at, 'name'), `service entry port name ${JSON.stringify(name)} already defined`);
    if (numbers.has(number)) findings.error(child(at, 'number'), `service entry port ${number} already defined`);
    names.add(name);
    numbers.add(number);
    findings.unless(child(at, 'name'), checkPortName(name));
    findings.unless(child(at, 'number'), checkPort(number));
    const protocol = port.protocol ?? '';
    findings.unless(child(at, 'protocol'), checkProtocol(protocol));
    if ((port.targetPort ?? 0) !== 0) findings.unless(child(at, 'targetPort'), checkPort(port.targetPort ?? 0));
    const family = protocolFamily(protocol);
    if (resolution === 'DYNAMIC_DNS' && family !== 'http' && family !== 'tls') {
      findings.error(child(at, 'protocol'), 'resolution DYNAMIC_DNS is for HTTP and TLS ports');
    }
    if (resolution.includes('DNS') && several && spec.addresses?.length && (family === 'tcp' || family === 'tls')) {
      findings.warn(at, 'service entry can not have more than one host specified simultaneously with address and tcp port');
    }
    // Without an address the port takes every connection to that number.
    if (!allocated && !spec.addresses?.length && (protocol === '' || protocol === 'TCP')) {
      findings.warn(at, 'addresses are required for ports serving TCP (or unset) protocol when no address is allocated automatically');
    }
    if (resolution === 'NONE' || !several || family === 'http' || family === 'tls') continue;
    // Plain TCP carries no host: two hosts on one port could not be told apart.
    findings.error(at, 'multiple hosts provided with non-HTTP, non-TLS ports');
  }
  // NONE needs no port name to be told apart, but a targetPort has nothing to translate.
  const target = (spec.ports ?? []).findIndex((p) => (p.targetPort ?? 0) !== 0);
  if (resolution === 'NONE' && target !== -1) {
    findings.warn(child(item(child(path, 'ports'), target), 'targetPort'), 'targetPort has no effect when resolution mode is NONE');
  }
};

const checkEndpoints = (spec: ServiceEntry, path: string, findings: Findings, resolution: string): void => {
  const endpoints = spec.endpoints ?? [];
  const at = child(path, 'endpoints');
  const ports = new Set((spec.ports ?? []).map((p) => p.name ?? ''));
  if (resolution === 'NONE') {
    if (endpoints.length > 0)
      findings.error(at, 'no endpoints should be provided for resolution type none', 'write resolution: STATIC or DNS');
    return;
  }
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1) {
    findings.error(at, `there must only be 0 or 1 endpoint for resolution mode ${resolution}`);
  }
  if (resolution === 'DYNAMIC_DNS' && endpoints.length > 0)
    findings.error(at, 'no endpoints should be provided for resolution type DYNAMIC_DNS');
  for (const [index, endpoint] of endpoints.entries()) {
    checkEndpoint(endpoint, item(at, index), findings, {
      servicePorts: ports,
      names: resolution !== 'STATIC',
      unix: resolution === 'STATIC',
    });
  }
};
