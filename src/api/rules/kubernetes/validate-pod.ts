// What Kubernetes asks of a Pod, as far as a mesh reads it: ports, identity, place and addresses.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { Pod } from '../../specs.ts';
import { checkPort } from '../../values/host-name.ts';
import { checkIp } from '../../values/ip-text.ts';
import { isObjectName } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';

type PodSpec = NonNullable<Pod['spec']>;
type Container = NonNullable<PodSpec['containers']>[number];

export const checkPod: Check<Pod> = ({ spec = {}, status = {} }, path, findings) => {
  const at = below(path, 'spec');
  const names = new Set<string>();
  for (const list of ['initContainers', 'containers'] as const) {
    for (const [index, container] of (spec[list] ?? []).entries()) {
      const where = item(child(at, list), index);
      if (names.has(container.name)) findings.error(child(where, 'name'), `duplicate container name ${container.name}`);
      names.add(container.name);
      checkContainer(container, where, findings);
    }
  }
  for (const field of ['serviceAccountName', 'serviceAccount', 'nodeName'] as const) {
    const name = spec[field] ?? '';
    if (name !== '' && !isObjectName(name)) findings.error(child(at, field), `invalid name ${JSON.stringify(name)}`);
  }
  if (spec.serviceAccount && spec.serviceAccountName && spec.serviceAccount !== spec.serviceAccountName)
    findings.error(child(at, 'serviceAccount'), 'serviceAccount is the old name of serviceAccountName, and they differ', 'leave it out');
  checkAddresses(status, below(path, 'status'), findings);
};

const checkContainer = (container: Container, path: string, findings: Findings): void => {
  const names = new Set<string>();
  for (const [index, port] of (container.ports ?? []).entries()) {
    const at = item(child(path, 'ports'), index);
    findings.unless(child(at, 'containerPort'), checkPort(port.containerPort));
    const { name = '' } = port;
    if (name === '') continue;
    if (!isContainerPortName(name)) {
      const hint = 'at most 15 lower case letters, digits and "-", one of them a letter';
      findings.error(child(at, 'name'), `invalid port name: ${JSON.stringify(name)}`, hint);
    }
    if (names.has(name)) findings.error(child(at, 'name'), `duplicate port name ${name}`);
    names.add(name);
  }
};

/** IANA's names of services. */
const isContainerPortName = (name: string): boolean => name.length <= 15 && /[a-z]/.test(name) && /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name);

const checkAddresses = (status: NonNullable<Pod['status']>, path: string, findings: Findings): void => {
  const { podIP = '', podIPs = [] } = status;
  if (podIP !== '') findings.unless(child(path, 'podIP'), checkIp(podIP));
  for (const [index, { ip = '' }] of podIPs.entries()) findings.unless(child(item(child(path, 'podIPs'), index), 'ip'), checkIp(ip));
  if (podIP !== '' && podIPs.length > 0 && podIPs[0]?.ip !== podIP) findings.error(child(path, 'podIPs'), 'podIPs must begin with podIP');
};
