// What Kubernetes asks of a Service, as far as the mesh reads it, and the mesh's annotation on it.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { Service, ServicePort } from '../../specs.ts';
import { checkFqdn, checkPort } from '../../values/host-name.ts';
import { checkIp, ipVersion, isIp } from '../../values/ip-text.ts';
import { checkLabels, isLabelKey } from '../../values/label-text.ts';
import { saysProtocol } from '../../values/protocol-name.ts';
import { checkExportTo } from '../networking/validate-export-to.ts';
import type { Check } from '../validate-context.ts';

const SESSION_SECONDS_MAX = 86400;

export const EXPORT_TO_ANNOTATION = 'networking.istio.io/exportTo';

/** The annotation's list; undefined when there is none and the mesh's default holds. */
export const serviceExportTo = (annotations: Readonly<Record<string, string>>): string[] | undefined =>
  annotations[EXPORT_TO_ANNOTATION]?.split(',').map((s) => s.trim());

export const checkService: Check<Service> = (spec, path, findings, context) => {
  const { clusterIP } = spec;
  if (context.name.includes('.')) findings.error('metadata.name', 'the name of a service is a part of its host name and has no dots');
  checkAddresses(spec, path, findings);
  checkExternalName(spec, path, findings);
  const timeout = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  if (timeout !== undefined && (timeout < 1 || timeout > SESSION_SECONDS_MAX)) {
    const at = below(path, 'sessionAffinityConfig.clientIP.timeoutSeconds');
    findings.error(at, `timeoutSeconds must be in the range 1..${SESSION_SECONDS_MAX}`);
  }
  checkLabels(spec.selector, child(path, 'selector'), findings);
  const ports = spec.ports ?? [];
  if (ports.length === 0 && clusterIP !== 'None' && spec.type !== 'ExternalName')
    findings.error(path, 'a service must have at least one port');
  const seen = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const at = item(child(path, 'ports'), index);
    checkServicePort(port, at, findings, seen, ports.length > 1);
    if (!OTHERS.has(context.namespace)) warnUnknownProtocol(port, at, findings);
  }
  const exportTo = serviceExportTo(context.annotations);
  const rules = { namespace: context.namespace, allowNone: true, ownNamespaceOnly: false };
  checkExportTo(exportTo, child('metadata.annotations', EXPORT_TO_ANNOTATION), findings, rules);
};

const checkAddresses = (spec: Service, path: string, findings: Findings): void => {
  const { clusterIP = '', clusterIPs = [], externalIPs = [] } = spec;
  // Kubernetes' own rule; the list alone would be read by nobody.
  if (clusterIPs.length > 0 && clusterIPs[0] !== clusterIP)
    findings.error(child(path, 'clusterIPs'), 'clusterIPs must begin with clusterIP');
  if (clusterIP !== '' && clusterIP !== 'None' && !isIp(clusterIP))
    findings.error(child(path, 'clusterIP'), `${JSON.stringify(clusterIP)} is neither "None" nor an IP address`);
  if (clusterIPs.length > 1 && (clusterIPs.length > 2 || new Set(clusterIPs.map(ipVersion)).size < 2))
    findings.error(child(path, 'clusterIPs'), 'at most one address of IPv4 and one of IPv6');
  for (const [index, address] of clusterIPs.entries())
    if (index > 0 && !isIp(address))
      findings.error(item(child(path, 'clusterIPs'), index), `${JSON.stringify(address)} is not an IP address`);
  for (const [index, address] of externalIPs.entries()) findings.unless(item(child(path, 'externalIPs'), index), checkIp(address));
};

const checkExternalName = (spec: Service, path: string, findings: Findings): void => {
  if (spec.type !== 'ExternalName') return;
  const { externalName = '', clusterIP = '' } = spec;
  if (externalName === '') findings.error(path, 'a service of type ExternalName must have externalName');
  else findings.unless(child(path, 'externalName'), checkFqdn(externalName));
  if (clusterIP !== '' && clusterIP !== 'None') findings.error(child(path, 'clusterIP'), 'a service of type ExternalName has no address');
};

/** Services of the platform are named by the platform. */
const OTHERS: ReadonlySet<string> = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'istio-system']);

const warnUnknownProtocol = (port: ServicePort, path: string, findings: Findings): void => {
  if ((port.protocol ?? 'TCP') !== 'TCP' || saysProtocol(port)) return;
  const message =
    'no protocol is known of this port: it is found out from the first bytes, for which a server that speaks first waits in vain';
  const hint = 'begin the name with http, http2, grpc, https, tls, tcp … and "-", or set appProtocol';
  findings.add('warning', 'PORT_PROTOCOL_UNKNOWN', path, message, hint);
};

const checkServicePort = (port: ServicePort, path: string, findings: Findings, seen: Set<string>, several: boolean): void => {
  const name = port.name ?? '';
  if (name === '' && several) findings.error(path, 'a port needs a name where a service has several');
  if (name !== '' && !isPortName(name))
    findings.error(child(path, 'name'), `invalid port name: ${JSON.stringify(name)}`, 'lower case letters, digits and "-"');
  const number = `${port.port}/${port.protocol ?? 'TCP'}`;
  if (name !== '' && seen.has(name)) findings.error(child(path, 'name'), `duplicate port name ${name}`);
  if (seen.has(number)) findings.error(child(path, 'port'), `duplicate port ${number}`);
  seen.add(name);
  seen.add(number);
  findings.unless(child(path, 'port'), checkPort(port.port));
  if ((port.nodePort ?? 0) > 65535) findings.unless(child(path, 'nodePort'), checkPort(port.nodePort ?? 0));
  if (port.appProtocol !== undefined && !isLabelKey(port.appProtocol))
    findings.error(child(path, 'appProtocol'), `invalid protocol name: ${JSON.stringify(port.appProtocol)}`);
  const target = port.targetPort;
  if (typeof target === 'number' && target !== 0) findings.unless(child(path, 'targetPort'), checkPort(target));
  if (typeof target === 'string' && !isPortName(target))
    findings.error(child(path, 'targetPort'), `invalid port name: ${JSON.stringify(target)}`);
};

export const isPortName = (name: string): boolean => name.length <= 63 && /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(name);
