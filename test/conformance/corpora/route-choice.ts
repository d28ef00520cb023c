// Envoy's choice of a virtual host, and whether a route's path matches, after the rules in the corpora's description.

import type { Route, RouteConfiguration, VirtualHost } from '../../../src/xds/gen/types.ts';

export const virtualHost = (rc: RouteConfiguration, hostHeader: string): VirtualHost | undefined => {
  const host = (rc.ignore_port_in_host_matching === true ? hostHeader.replace(/:\d+$/, '') : hostHeader).toLowerCase();
  let best: { readonly vh: VirtualHost; readonly score: number } | undefined;
  for (const vh of rc.virtual_hosts ?? []) {
    for (const d of vh.domains ?? []) {
      const score = domainScore(d, host);
      if (score >= 0 && (best === undefined || score > best.score)) best = { vh, score };
    }
  }
  return best?.vh;
};

const domainScore = (d: string, host: string): number => {
  if (d === host) return 1_000_000;
  if (d === '*') return 0;
  if (d.startsWith('*')) return host.endsWith(d.slice(1)) ? 10_000 + d.length : -1;
  if (d.endsWith('*')) return host.startsWith(d.slice(0, -1)) ? d.length : -1;
  return -1;
};

export const matchesPath = (r: Route, path: string): boolean => {
  const m = r.match ?? {};
  if (m.path !== undefined) return m.path === path;
  if (m.safe_regex?.regex !== undefined) return new RegExp(`^(?:${m.safe_regex.regex})$`).test(path);
  return path.startsWith(m.prefix ?? '/');
};
