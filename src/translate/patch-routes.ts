// EnvoyFilter on routes: the route configuration, its virtual hosts, their routes.

import type { Route, RouteConfiguration, VirtualHost } from '../xds/gen/types.ts';
import { isMerge, mergePatch } from './patch-list.ts';
import { namesRoute, type RoutePlace, routeConfigurationFits, routeFits, virtualHostFits } from './patch-match.ts';
import type { PatchSet, ReadyPatch } from './patch-set.ts';

interface Place extends RoutePlace {
  readonly set: PatchSet;
}

export const patchRoutes = (rc: RouteConfiguration, place: Place): RouteConfiguration => {
  const { set, context } = place;
  if (!set.has('ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE')) return rc;
  const fits = (p: ReadyPatch): boolean => routeConfigurationFits(rc, p, place);
  let out = rc;
  for (const p of set.of('ROUTE_CONFIGURATION', context)) {
    if (!isMerge(p) || !routeConfigurationFits(out, p, place)) continue;
    set.note(p);
    out = mergePatch(out, p);
  }
  const hostPatches = set.of('VIRTUAL_HOST', context).filter(fits);
  const routePatches = set.of('HTTP_ROUTE', context).filter(fits);
  if (hostPatches.length === 0 && routePatches.length === 0) return out;
  const hosts = (out.virtual_hosts ?? []).flatMap((h) => patchHost(h, hostPatches, routePatches, set) ?? []);
  for (const p of hostPatches) {
    if (p.operation !== 'ADD') continue;
    set.note(p);
    hosts.push(p.value as VirtualHost);
  }
  return { ...out, virtual_hosts: hosts };
};

const patchHost = (
  host: VirtualHost,
  patches: readonly ReadyPatch[],
  routePatches: readonly ReadyPatch[],
  set: PatchSet,
): VirtualHost | undefined => {
  let out = host;
  for (const p of patches) {
    if (!virtualHostFits(out, p)) continue;
    if (p.operation === 'REMOVE') {
      set.note(p);
      return undefined;
    }
    if (isMerge(p)) out = mergePatch(out, p);
    else if (p.operation === 'REPLACE') out = p.value as VirtualHost;
    else continue;
    set.note(p);
  }
  const mine = routePatches.filter((p) => virtualHostFits(out, p));
  if (mine.length === 0) return out;
  return { ...out, routes: insertRoutes(patchEach(out.routes ?? [], mine, set), mine, set) };
};

/** Merges and removals, route by route. */
const patchEach = (routes: readonly Route[], patches: readonly ReadyPatch[], set: PatchSet): readonly Route[] =>
  routes.flatMap((route) => {
    let out = route;
    for (const p of patches) {
      if (!routeFits(out, p)) continue;
      if (p.operation === 'REMOVE') {
        set.note(p);
        return [];
      }
      if (!isMerge(p)) continue;
      set.note(p);
      out = mergePatch(out, p);
    }
    return [out];
  });

const insertRoutes = (routes: readonly Route[], patches: readonly ReadyPatch[], set: PatchSet): readonly Route[] => {
  let out = routes;
  for (const p of patches) {
    const index = insertionIndex(out, p);
    if (index === undefined) continue;
    set.note(p);
    out = [...out.slice(0, index), p.value as Route, ...out.slice(index)];
  }
  return out;
};

/** Undefined: nowhere. */
const insertionIndex = (routes: readonly Route[], p: ReadyPatch): number | undefined => {
  const named = namesRoute(p);
  const at = named ? routes.findIndex((r) => routeFits(r, p)) : -1;
  switch (p.operation) {
    case 'ADD':
      return routes.length;
    case 'INSERT_AFTER':
      return named ? (at === -1 ? undefined : at + 1) : routes.length;
    case 'INSERT_BEFORE':
      return named ? (at === -1 ? undefined : at) : 0;
    case 'INSERT_FIRST':
      return named && at === -1 ? undefined : 0;
    default:
      return undefined;
  }
};
