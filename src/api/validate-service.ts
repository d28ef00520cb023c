// What Kubernetes asks of a Service, as far as the mesh reads it, and the mesh's annotation on it.

import { child, item } from './field-path.ts';
import type { Findings } from './findings.ts';
import { checkPort } from './host-name.ts';
import { isIp } from './ip-text.ts';
import { checkLabels } from './label-text.ts';
import type { Service, ServicePort } from './specs.ts';
import type { Check } from './validate-context.ts';
import { checkExportTo } from './validate-export-to.ts';

export const EXPORT_TO_ANNOTATION = 'networking.istio.io/exportTo';

/** The annotation's list; undefined when there is none and the mesh's default holds. */
export const serviceExportTo = (annotations: Readonly<Record<string, string>>): string[] | undefined =>
  annotations[EXPORT_TO_ANNOTATION]?.split(',').map((s) => s.trim());

export const checkService: Check<Service> = (spec, path, findings, context) => {
  const { clusterIP, clusterIPs = [] } = spec;
  // Kubernetes' own rule; the list alone would be read by nobody.
  if (clusterIPs.length > 0 && clusterIPs[0] !== clusterIP)
    findings.error(child(path, 'clusterIPs'), 'clusterIPs must begin with clusterIP');
  if (clusterIP !== undefined && clusterIP !== '' && clusterIP !== 'None' && !isIp(clusterIP)) {
    findings.error(child(path, 'clusterIP'), `${JSON.stringify(clusterIP)} is neither "None" nor an IP address`);
  }
  checkLabels(spec.selector, child(path, 'selector'), findings);
  const ports = spec.ports ?? [];
  if (ports.length === 0 && clusterIP !== 'None' && spec.type !== 'ExternalName')
    findings.error(path, 'a service must have at least one port');
  const seen = new Set<string>();
  for (const [index, port] of ports.entries()) checkServicePort(port, item(child(path, 'ports'), index), findings, seen, ports.length > 1);
  const exportTo = serviceExportTo(context.annotations);
  const rules = { namespace: context.namespace, allowNone: true, ownNamespaceOnly: false };
  checkExportTo(exportTo, child('metadata.annotations', EXPORT_TO_ANNOTATION), findings, rules);
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
  const target = port.targetPort;
  if (typeof target === 'number' && target !== 0) findings.unless(child(path, 'targetPort'), checkPort(target));
  if (typeof target === 'string' && !isPortName(target))
    findings.error(child(path, 'targetPort'), `invalid port name: ${JSON.stringify(target)}`);
};

export const isPortName = (name: string): boolean => name.length <= 63 && /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(name);
