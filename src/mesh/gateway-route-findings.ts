// Rules for the rest that get nothing: gateways join the rules of all VirtualServices for one host and port, catch-alls last, and of several
// catch-alls the oldest takes everything.

import type { HttpMatchRequest } from '../api/specs.ts';
import { type GatewayRule, gatewayKey, isPlainHttp, terminatesTls } from './gateways.ts';
import { hostSubsetOf, hostsMatch } from './host.ts';
import type { Snapshot } from './snapshot.ts';
import type { VirtualServiceRule } from './virtual-services.ts';
import { isPublic } from './visibility.ts';

export interface ShadowedCatchAll {
  readonly rule: VirtualServiceRule;
  readonly path: string;
  readonly message: string;
}

/** Only rules that are shadowed everywhere they are bound, and written in the VirtualService itself. */
export const shadowedCatchAlls = ({ gateways, virtualServices }: Snapshot): readonly ShadowedCatchAll[] => {
  const owners = new Map<string, VirtualServiceRule>();
  const out: ShadowedCatchAll[] = [];
  const places = new Map<VirtualServiceRule, string[]>();
  for (const gateway of gateways) {
    for (const rule of virtualServices.all) {
      if (!isPublic(rule.exportTo) || !rule.gateways.includes(gatewayKey(gateway)) || catchAllOf(rule) === undefined) continue;
      for (const place of placesOf(gateway, rule)) {
        places.set(rule, [...(places.get(rule) ?? []), place]);
        if (!owners.has(place)) owners.set(place, rule);
      }
    }
  }
  for (const [rule, at] of places) {
    const owner = owners.get(at[0] ?? '');
    const index = catchAllOf(rule);
    if (owner === undefined || index === undefined || at.some((place) => owners.get(place) === rule)) continue;
    const message = `no request gets here: VirtualService ${owner.namespace}/${owner.name} is older, and what no other rule for ${rule.hosts.join(', ')} takes at this port goes there`;
    out.push({ rule, path: `spec.http[${index}]`, message });
  }
  return out;
};

/** Where a rule's routes stand: a port of the proxies that a gateway selects, and a host. */
const placesOf = (gateway: GatewayRule, rule: VirtualServiceRule): readonly string[] => {
  const selector = Object.entries(gateway.selector).sort(([a], [b]) => (a < b ? -1 : 1));
  return gateway.servers.flatMap((server, i) => {
    if (!isPlainHttp(server) && !terminatesTls(server)) return [];
    // Servers with TLS have routes of their own each.
    const own = terminatesTls(server) ? `${gatewayKey(gateway)} ${i}` : '';
    return (server.hosts ?? []).flatMap((entry) => {
      const [host, namespace] = entry.includes('/')
        ? [entry.slice(entry.indexOf('/') + 1), entry.slice(0, entry.indexOf('/'))]
        : [entry, '*'];
      const wanted = namespace === '.' ? gateway.namespace : namespace;
      if (wanted !== '*' && wanted !== rule.namespace) return [];
      return rule.hosts
        .filter((h) => hostsMatch(host, h))
        .map((h) =>
          JSON.stringify([selector, server.bind ?? '', server.port.number, own, (hostSubsetOf(h, host) ? h : host).toLowerCase()]),
        );
    });
  });
};

/** The rule that takes every request left, by its place in the document. */
const catchAllOf = (rule: VirtualServiceRule): number | undefined => {
  const written = rule.resource.spec.http ?? [];
  if (written.length !== rule.http.length || written.some((h) => h.delegate !== undefined)) return undefined;
  const index = written.findIndex((h) => (h.match ?? []).length === 0 || h.match?.some(takesAll));
  return index === -1 ? undefined : index;
};

const takesAll = (match: HttpMatchRequest): boolean => {
  const { uri, name: _, ...rest } = match;
  return (uri === undefined || ('prefix' in uri && uri.prefix === '/')) && Object.keys(rest).length === 0;
};
