// The networks of the mesh, read from where Istio reads them: key `meshNetworks` of the ConfigMap `istio` in the root namespace.

import { Findings } from '../findings.ts';
import { child, item } from '../reading/field-path.ts';
import { readValue } from '../reading/read-value.ts';
import { readYaml } from '../reading/yaml-documents.ts';
import { meshNetworks } from '../schema/mesh-networks.ts';
import type { MeshNetworksSpec } from '../specs.ts';
import { checkFqdn, checkPort, isDnsLabel } from '../values/host-name.ts';
import { isIp } from '../values/ip-text.ts';

export const NETWORKS_OBJECT = 'istio';
export const NETWORKS_KEY = 'meshNetworks';

/** One document; what is wrong with it is in `findings`, by paths inside it. */
export const readMeshNetworks = (text: string): { readonly networks: MeshNetworksSpec; readonly findings: Findings } => {
  const findings = new Findings();
  const [document, ...more] = readYaml('', text).documents;
  for (const p of document?.problems ?? []) findings.add(p.severity, p.code, '', p.message);
  if (more.length > 0) findings.add('error', 'NOT_AN_OBJECT', '', 'networks are one document');
  if (document?.root === undefined) return { networks: {}, findings };
  const networks = readValue(meshNetworks, document.root, '', findings);
  if (!findings.failed) checkMeshNetworks(networks, findings);
  return { networks, findings };
};

export const checkMeshNetworks = (spec: MeshNetworksSpec, findings: Findings): void => {
  for (const [name, network] of Object.entries(spec.networks ?? {})) {
    const path = child('networks', name);
    for (const [i, { fromCidr = '', fromRegistry = '' }] of (network.endpoints ?? []).entries()) {
      const at = item(child(path, 'endpoints'), i);
      if (fromCidr !== '' && !isRange(fromCidr))
        findings.error(child(at, 'fromCidr'), `${JSON.stringify(fromCidr)} is no range of addresses`);
      if (fromRegistry !== '' && !isDnsLabel(fromRegistry))
        findings.error(child(at, 'fromRegistry'), `${JSON.stringify(fromRegistry)} is not the name of a registry`, 'such as Kubernetes');
    }
    for (const [i, gateway] of (network.gateways ?? []).entries()) {
      const at = item(child(path, 'gateways'), i);
      const { registryServiceName = '', address = '' } = gateway;
      if (registryServiceName === '' && address === '') findings.error(at, 'a gateway needs registryServiceName or address');
      if (registryServiceName !== '') findings.unless(child(at, 'registryServiceName'), checkFqdn(registryServiceName));
      if (address !== '' && !isIp(address)) findings.unless(child(at, 'address'), checkFqdn(address));
      findings.unless(child(at, 'port'), checkPort(gateway.port ?? 0));
    }
  }
};

const isRange = (text: string): boolean => {
  const [address = '', length, ...more] = text.split('/');
  return more.length === 0 && isIp(address) && /^\d{1,3}$/.test(length ?? '') && Number(length) <= (address.includes(':') ? 128 : 32);
};
