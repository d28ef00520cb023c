// Destinations and gateway references, shared by all kinds of routes.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { Destination } from '../../specs.ts';
import { checkGatewayName, checkPort, checkWildcardDomain, isDnsLabel } from '../../values/host-name.ts';

const LABEL = 'letters, digits and "-", not at the ends, at most 63';

export const checkDestination = (destination: Destination, path: string, findings: Findings): void => {
  const host = destination.host ?? '';
  if (host === '*') findings.error(child(path, 'host'), 'invalid destination host *', 'a route goes to one service: name it');
  else findings.unless(child(path, 'host'), checkWildcardDomain(host));
  if (destination.subset !== undefined && destination.subset !== '') checkSubsetName(destination.subset, child(path, 'subset'), findings);
  if (destination.port) findings.unless(child(path, 'port'), checkPort(destination.port.number ?? 0));
};

export const checkSubsetName = (name: string, path: string, findings: Findings): void => {
  if (name === '') findings.error(path, 'subset name cannot be empty');
  else if (!isDnsLabel(name)) findings.error(path, `subset name is invalid: ${name}`, LABEL);
};

export const checkGatewayNames = (names: readonly string[], path: string, findings: Findings): void => {
  for (const [index, name] of names.entries()) {
    const at = item(path, index);
    findings.unless(at, checkGatewayName(name), 'a name in this namespace, "namespace/name", or "mesh" for sidecars');
    if (name.includes('/') || !name.includes('.')) continue;
    const [gateway, namespace] = name.split('.');
    findings.warn(at, `using legacy gatewayName format ${JSON.stringify(name)}`, `write "${namespace}/${gateway}"`);
  }
};
