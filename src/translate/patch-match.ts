// Which listeners, chains, filters, routes and clusters a patch is about: Istio's rules, object by object. What a match leaves out fits all.

import type { FilterChain, Listener, Route, RouteConfiguration, VirtualHost } from '../xds/gen/types.ts';
import { VIRTUAL_INBOUND, VIRTUAL_OUTBOUND } from './names.ts';
import type { PatchContext, ReadyPatch } from './patch-set.ts';

const isVirtual = (name: string | undefined): boolean => name === VIRTUAL_INBOUND || name === VIRTUAL_OUTBOUND;

export const listenerFits = (listener: Listener, p: ReadyPatch): boolean => {
  const match = p.match.listener;
  if (match === undefined) return true;
  if ((match.name ?? '') !== '' && match.name !== listener.name) return false;
  // The listeners of captured connections stand for many ports: their chains are looked at instead.
  if (p.patch.applyTo !== 'LISTENER' && isVirtual(listener.name)) return true;
  return (match.portNumber ?? 0) === 0 || listener.address?.socket_address?.port_value === match.portNumber;
};

export const chainFits = (listener: Listener, chain: FilterChain, p: ReadyPatch): boolean => {
  const match = p.match.listener;
  if (match === undefined) return true;
  const own = chain.filter_chain_match;
  const port = match.portNumber ?? 0;
  if (port !== 0 && isVirtual(listener.name) && own?.destination_port !== port) return false;
  const wanted = match.filterChain;
  if (wanted === undefined) return true;
  const { name = '', sni = '', transportProtocol = '', applicationProtocols = '', destinationPort = 0 } = wanted;
  return (
    (name === '' || name === chain.name) &&
    (sni === '' || (own?.server_names ?? []).includes(sni)) &&
    (transportProtocol === '' || own?.transport_protocol === transportProtocol) &&
    (applicationProtocols === '' || applicationProtocols.split(',').every((a) => (own?.application_protocols ?? []).includes(a))) &&
    (destinationPort === 0 || own?.destination_port === destinationPort)
  );
};

/** Undefined: the patch names no network filter. */
export const networkFilterName = (p: ReadyPatch): string | undefined => {
  const filter = p.match.listener?.filterChain?.filter;
  return filter === undefined ? undefined : (filter.name ?? '');
};

export const httpFilterName = (p: ReadyPatch): string | undefined => p.match.listener?.filterChain?.filter?.subFilter?.name || undefined;

export const listenerFilterName = (p: ReadyPatch): string | undefined => p.match.listener?.listenerFilter || undefined;

export interface RoutePlace {
  readonly context: PatchContext;
  /** Service ports of a gateway's listening port; undefined where no service leads to it. */
  readonly servicePorts: (port: number) => ReadonlySet<number> | undefined;
}

export const routeConfigurationFits = (rc: RouteConfiguration, p: ReadyPatch, place: RoutePlace): boolean => {
  const match = p.match.routeConfiguration;
  if (match === undefined) return true;
  const name = rc.name ?? '';
  const { portNumber = 0, portName = '', gateway = '' } = match;
  if ((match.name ?? '') !== '' && match.name !== name) return false;
  if (place.context !== 'GATEWAY') return portNumber === 0 || portNumber === sidecarPort(name);
  const own = gatewayRouteName(name);
  if (portNumber !== 0) {
    const ports = place.servicePorts(own.port);
    if (ports === undefined ? own.port !== portNumber : !ports.has(portNumber)) return false;
  }
  return (portName === '' || portName === own.portName) && (gateway === '' || gateway === own.gateway);
};

/** `inbound|8080||`, `8080`; 0 for names of another shape. */
const sidecarPort = (name: string): number => {
  const port = Number(name.startsWith('inbound') ? name.split('|')[1] : name);
  return Number.isInteger(port) ? port : 0;
};

/** `http.8080`, `https.443.port-name.gateway.namespace`. */
const gatewayRouteName = (name: string): { readonly port: number; readonly portName: string; readonly gateway: string } => {
  const [scheme, port, portName = '', gateway = '', namespace = ''] = name.split('.');
  const number = Number(port);
  return scheme === 'https' ? { port: number, portName, gateway: `${namespace}/${gateway}` } : { port: number, portName: '', gateway: '' };
};

export const virtualHostFits = (host: VirtualHost, p: ReadyPatch): boolean => {
  const { name = '', domainName = '' } = p.match.routeConfiguration?.vhost ?? {};
  return (name === '' || name === host.name) && (domainName === '' || (host.domains ?? []).includes(domainName));
};

export const namesRoute = (p: ReadyPatch): boolean => p.match.routeConfiguration?.vhost?.route !== undefined;

export const routeFits = (route: Route, p: ReadyPatch): boolean => {
  const match = p.match.routeConfiguration?.vhost?.route;
  if (match === undefined) return true;
  if ((match.name ?? '') !== '' && match.name !== route.name) return false;
  switch (match.action ?? 'ANY') {
    case 'ROUTE':
      return route.redirect === undefined && route.direct_response === undefined;
    case 'REDIRECT':
      return route.redirect !== undefined;
    case 'DIRECT_RESPONSE':
      return route.direct_response !== undefined;
    default:
      return true;
  }
};

/** `hosts`: of the services behind an inbound cluster, whose name has none. */
export const clusterFits = (name: string, hosts: readonly string[], p: ReadyPatch): boolean => {
  const match = p.match.cluster;
  if (match === undefined) return true;
  if ((match.name ?? '') !== '') return match.name === name;
  const [direction, port = '0', subset = '', host = ''] = name.includes('|') ? name.split('|') : [];
  const own = direction === 'inbound' && hosts.length > 0 ? hosts : [host];
  return (
    ((match.subset ?? '') === '' || match.subset === subset) &&
    ((match.service ?? '') === '' || own.includes(match.service ?? '')) &&
    ((match.portNumber ?? 0) === 0 || match.portNumber === Number(port))
  );
};
