// What Istio's webhook asks of a WorkloadEntry, alone or as an endpoint of a ServiceEntry.

import type { Findings } from '../../findings.ts';
import { child } from '../../reading/field-path.ts';
import type { WorkloadEntry } from '../../specs.ts';
import { checkFqdn, checkPort, checkPortName, checkUnixPath } from '../../values/host-name.ts';
import { isIp } from '../../values/ip-text.ts';
import { checkLabels } from '../../values/label-text.ts';
import type { Check } from '../validate-context.ts';

export const checkWorkloadEntry: Check<WorkloadEntry> = (spec, path, findings) =>
  checkEndpoint(spec, path, findings, { servicePorts: undefined, names: true, unix: true });

export interface EndpointRules {
  /** Names the endpoint's ports must have; undefined when no service is known. */
  readonly servicePorts: ReadonlySet<string> | undefined;
  /** Host names are allowed as addresses. */
  readonly names: boolean;
  readonly unix: boolean;
}

export const checkEndpoint = (entry: WorkloadEntry, path: string, findings: Findings, rules: EndpointRules): void => {
  const address = entry.address ?? '';
  const at = child(path, 'address');
  const unix = rules.unix && address.startsWith('unix://');
  if (address === '') {
    // An address that is to be resolved has to be there; others may lie behind the gateway of their network.
    if (!entry.network || (rules.names && rules.servicePorts !== undefined)) {
      findings.error(path, 'address is required');
      return;
    }
    findings.warn(path, `address is unset with network ${JSON.stringify(entry.network)}`);
  } else if (unix) {
    findings.unless(at, checkUnixPath(address.slice('unix://'.length)));
    if (Object.keys(entry.ports ?? {}).length > 0) findings.error(child(path, 'ports'), `unix endpoint ${address} must not include ports`);
    if (rules.servicePorts && rules.servicePorts.size !== 1) findings.error(at, 'exactly 1 service port required for unix endpoints');
  } else if (!isIp(address)) {
    if (!rules.names) findings.error(at, `endpoint address ${JSON.stringify(address)} is not a valid IP address`);
    else if (checkFqdn(address) !== undefined)
      findings.error(at, `endpoint address ${JSON.stringify(address)} is not a valid FQDN or an IP address`);
  }
  for (const [name, port] of Object.entries(entry.ports ?? {})) {
    const where = child(child(path, 'ports'), name);
    if (rules.servicePorts && !rules.servicePorts.has(name))
      findings.error(where, `endpoint port ${JSON.stringify(name)} is not defined by the service entry`);
    findings.unless(where, checkPortName(name));
    findings.unless(where, checkPort(port));
  }
  checkLabels(entry.labels, child(path, 'labels'), findings);
};
