// What Kubernetes asks of Endpoints and EndpointSlices: addresses that another machine can reach, ports that can be told apart.

import type { Findings } from '../../findings.ts';
import { child, item } from '../../reading/field-path.ts';
import type { EndpointSlice, Endpoints } from '../../specs.ts';
import { checkFqdn, checkPort } from '../../values/host-name.ts';
import { ipVersion } from '../../values/ip-text.ts';
import type { Check } from '../validate-context.ts';
import { isPortName } from './validate-service.ts';

const ADDRESSES_MAX = 100;

const SERVICE_LABEL = 'kubernetes.io/service-name';

export const checkEndpointSlice: Check<EndpointSlice> = (spec, path, findings, { labels }) => {
  if (labels && !labels[SERVICE_LABEL])
    findings.warn('metadata.labels', `without the label ${SERVICE_LABEL} the slice belongs to no service and has no effect`);
  for (const [index, endpoint] of (spec.endpoints ?? []).entries()) {
    const at = child(item(child(path, 'endpoints'), index), 'addresses');
    const { addresses } = endpoint;
    if (addresses.length === 0) findings.error(at, 'an endpoint must have an address');
    if (addresses.length > ADDRESSES_MAX) findings.error(at, `an endpoint may have at most ${ADDRESSES_MAX} addresses`);
    for (const [place, address] of addresses.entries()) findings.unless(item(at, place), checkAddress(address, spec.addressType));
  }
  checkPorts(spec.ports ?? [], child(path, 'ports'), findings);
};

export const checkEndpoints: Check<Endpoints> = (spec, path, findings) => {
  for (const [index, subset] of (spec.subsets ?? []).entries()) {
    const at = item(child(path, 'subsets'), index);
    for (const list of ['addresses', 'notReadyAddresses'] as const) {
      for (const [place, address] of (subset[list] ?? []).entries())
        findings.unless(child(item(child(at, list), place), 'ip'), checkAddress(address.ip, undefined));
    }
    checkPorts(subset.ports ?? [], child(at, 'ports'), findings);
  }
};

const checkAddress = (address: string, type: EndpointSlice['addressType']): string | undefined => {
  if (type === 'FQDN') return checkFqdn(address);
  const version = ipVersion(address);
  if (version === 0 || (type !== undefined && type !== `IPv${version}`))
    return `${JSON.stringify(address)} is not an address of type ${type ?? 'IPv4 or IPv6'}`;
  return unreachable.test(address) ? `${address} cannot be reached from another machine` : undefined;
};

/** Unspecified, loopback and link-local addresses. */
const unreachable = /^(?:0\.0\.0\.0|127\..*|169\.254\..*|224\.0\.0\..*|::1?|fe[89ab][0-9a-f]:.*|ff02:.*)$/i;

interface Port {
  readonly name?: string;
  readonly port?: number;
  readonly protocol?: string;
}

const checkPorts = (ports: readonly Port[], path: string, findings: Findings): void => {
  const names = new Set<string>();
  for (const [index, { name = '', port }] of ports.entries()) {
    const at = item(path, index);
    if (port !== undefined) findings.unless(child(at, 'port'), checkPort(port));
    if (name !== '' && !isPortName(name)) findings.error(child(at, 'name'), `invalid port name: ${JSON.stringify(name)}`);
    if (names.has(name))
      findings.error(child(at, 'name'), name === '' ? 'a port needs a name beside others' : `duplicate port name ${name}`);
    names.add(name);
  }
};
