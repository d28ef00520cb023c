// Names under which clients may call a service: its full name, the shorter forms that resolve in the client's namespace, its addresses.
// Ports are ignored by the route configuration.

import { derive } from '../base/derive.ts';
import { isWildcard } from '../mesh/host.ts';
import type { Service, ServiceShape } from '../mesh/service.ts';

/** Names relative to the client's DNS domain (`<ns>.svc.<suffix>`); of other naming schemes none are safe. */
const shortForms = (host: string, dnsDomain: string): readonly string[] => {
  const own = dnsDomain.indexOf('.svc.');
  if (own === -1) return sharedForms(host, dnsDomain);
  const suffix = dnsDomain.slice(own);
  if (!host.endsWith(suffix)) return [];
  const at = host.indexOf('.svc.');
  const dot = host.indexOf('.');
  if (at <= 0 || dot + 1 > at) return [];
  const qualified = host.slice(0, at);
  const sameNamespace = host.slice(dot + 1, at) === dnsDomain.slice(0, own);
  return sameNamespace ? [host.slice(0, dot), `${qualified}.svc`, qualified] : [qualified, `${qualified}.svc`];
};

/** Outside Kubernetes' naming: what is left of the name before the labels it shares with the client's domain. */
const sharedForms = (host: string, dnsDomain: string): readonly string[] => {
  const a = host.split('.');
  const b = dnsDomain.split('.').filter((l) => l !== '');
  let shared = 0;
  while (shared < a.length && shared < b.length && a[a.length - 1 - shared] === b[b.length - 1 - shared]) shared++;
  if (shared === 0 || shared === a.length) return [];
  const unique = a.slice(0, a.length - shared).join('.');
  const out = [unique];
  if (a.length - shared === 2 && shared > 0) out.push(`${unique}.${b[b.length - shared] ?? ''}`);
  return out.filter((d) => d !== host);
};

/** By which TLS clients name a service: its host, and what stands for it in all its forms. */
export const serverNamesOf = (service: Pick<Service, 'host' | 'aliases'>, { dnsDomain }: Client): readonly string[] => [
  service.host,
  ...service.aliases.flatMap((a) => [a, ...shortForms(a, dnsDomain)]),
];

export interface ServiceDomains {
  readonly domains: readonly string[];
  /** Those that are abbreviations: another service's full name goes first. */
  readonly abbreviations: ReadonlySet<string>;
}

/** Of the families the client has; without any address of its own it is taken for IPv4. */
const families = ({ ipAddresses: own }: Client): { readonly v4: boolean; readonly v6: boolean } => ({
  v4: own.length === 0 || own.some((a) => !a.includes(':')),
  v6: own.some((a) => a.includes(':')),
});

const addressDomains = (addresses: readonly string[], { v4, v6 }: ReturnType<typeof families>): readonly string[] =>
  addresses.filter((a) => a !== '0.0.0.0' && (a.includes(':') ? v6 : v4)).map((a) => (a.includes(':') ? `[${a}]` : a));

export interface Client {
  readonly dnsDomain: string;
  readonly ipAddresses: readonly string[];
}

export const serviceDomains = (service: ServiceShape, client: Client): ServiceDomains => domainsFor(client)(service);

/** For many services of one client. */
export const domainsFor = (client: Client): ((service: ServiceShape) => ServiceDomains) => {
  const { dnsDomain } = client;
  const own = derive(client, 'families', families);
  return (service) => domainsOf(service, dnsDomain, own);
};

const domainsOf = (service: ServiceShape, dnsDomain: string, family: ReturnType<typeof families>): ServiceDomains => {
  const short: string[] = [];
  const names: string[] = [];
  for (const host of [service.host, ...service.aliases]) {
    const own = shortForms(host, dnsDomain);
    short.push(...own);
    names.push(host, ...(isWildcard(host) ? [] : [`${host}.`]), ...own);
  }
  const headless = service.resolution === 'passthrough' && service.registry === 'Kubernetes';
  const below = headless ? names.map((n) => `*.${n}`) : [];
  return {
    domains: [...names, ...below, ...addressDomains(service.addresses, family)],
    abbreviations: new Set(short),
  };
};
