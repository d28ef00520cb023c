// EnvoyFilter on listeners: the listener, its listener filters, its chains, their network filters and the HTTP filters of their
// connection managers, in this order; within each kind in the order of the patches, merges last.

import type { FilterChain, HttpConnectionManager, HttpFilter, Listener, Listener_Filter, ListenerFilter } from '../xds/gen/types.ts';
import { HTTP_CONNECTION_MANAGER } from './http-connection.ts';
import { isMerge, mergeFilter, mergePatch, patchNamed } from './patch-list.ts';
import { chainFits, httpFilterName, listenerFilterName, listenerFits, networkFilterName, type RoutePlace } from './patch-match.ts';
import { mergeAnys } from './patch-merge.ts';
import { patchRoutes } from './patch-routes.ts';
import type { PatchSet, ReadyPatch } from './patch-set.ts';

interface Place extends RoutePlace {
  readonly set: PatchSet;
}

export const patchListeners = (listeners: readonly Listener[], place: Place): readonly Listener[] => {
  const { set, context } = place;
  const out = listeners.flatMap((l) => patchListener(l, place) ?? []);
  const names = new Set(out.map((l) => l.name));
  for (const p of set.of('LISTENER', context)) {
    const { name = '' } = p.value as Listener;
    // One for both directions is an outbound one.
    if (p.operation !== 'ADD' || (context === 'SIDECAR_INBOUND' && p.match.context !== context)) continue;
    if (name === '' || names.has(name)) continue;
    set.note(p);
    names.add(name);
    out.push(p.value as Listener);
  }
  return out;
};

const patchListener = (listener: Listener, place: Place): Listener | undefined => {
  const { set, context } = place;
  let out = listener;
  for (const p of set.of('LISTENER', context)) {
    if (!listenerFits(out, p)) continue;
    if (p.operation === 'REMOVE') {
      set.note(p);
      return undefined;
    }
    if (!isMerge(p)) continue;
    set.note(p);
    out = mergePatch(out, p);
  }
  return patchChains(patchListenerFilters(out, place), place);
};

const patchListenerFilters = (listener: Listener, { set, context }: Place): Listener => {
  const patches = set.of('LISTENER_FILTER', context).filter((p) => listenerFits(listener, p));
  if (patches.length === 0) return listener;
  let filters: readonly ListenerFilter[] = listener.listener_filters ?? [];
  for (const p of patches) filters = patchNamed(filters, p, listenerFilterName(p), set);
  return { ...listener, listener_filters: mergeInto(filters, patches, listenerFilterName, set) };
};

const patchChains = (listener: Listener, place: Place): Listener => {
  const { set, context } = place;
  if (!set.has('FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER', 'ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE')) return listener;
  const chains = (listener.filter_chains ?? []).flatMap((c) => patchChain(listener, c, place) ?? []);
  for (const p of set.of('FILTER_CHAIN', context)) {
    if (p.operation !== 'ADD' || !listenerFits(listener, p)) continue;
    set.note(p);
    chains.push(p.value as FilterChain);
  }
  const { default_filter_chain: fallback, ...rest } = listener;
  const patched = fallback === undefined ? undefined : patchChain(listener, fallback, place);
  return {
    ...rest,
    ...(listener.filter_chains === undefined && chains.length === 0 ? {} : { filter_chains: chains }),
    ...(patched === undefined ? {} : { default_filter_chain: patched }),
  };
};

const patchChain = (listener: Listener, chain: FilterChain, place: Place): FilterChain | undefined => {
  const { set, context } = place;
  let out: FilterChain = { ...chain, filters: (chain.filters ?? []).map((f) => patchInlineRoutes(f, place)) };
  for (const p of set.of('FILTER_CHAIN', context)) {
    if (!listenerFits(listener, p) || !chainFits(listener, out, p)) continue;
    if (p.operation === 'REMOVE') {
      set.note(p);
      return undefined;
    }
    if (!isMerge(p)) continue;
    set.note(p);
    out = mergeChain(out, p);
  }
  return { ...out, filters: patchFilters(listener, out, place) };
};

/** A transport socket of the same name is merged inside, not replaced; then nothing else of the patch is merged, as in Istio. */
const mergeChain = (chain: FilterChain, p: ReadyPatch): FilterChain => {
  const { transport_socket: wanted } = p.value as FilterChain;
  const own = chain.transport_socket;
  if (wanted === undefined || own === undefined || wanted.name !== own.name) return mergePatch(chain, p);
  const typed = mergeAnys(own.typed_config, wanted.typed_config) as typeof own.typed_config;
  return typed === undefined ? chain : { ...chain, transport_socket: { ...own, typed_config: typed } };
};

const patchFilters = (listener: Listener, chain: FilterChain, place: Place): readonly Listener_Filter[] => {
  const { set, context } = place;
  const fits = (p: ReadyPatch): boolean => listenerFits(listener, p) && chainFits(listener, chain, p);
  const patches = set.of('NETWORK_FILTER', context).filter(fits);
  let filters: readonly Listener_Filter[] = chain.filters ?? [];
  for (const p of patches) filters = patchNamed(filters, p, networkFilterName(p), set);
  filters = mergeInto(filters, patches, networkFilterName, set);
  const http = set.of('HTTP_FILTER', context).filter(fits);
  if (http.length === 0) return filters;
  return filters.map((f) => (f.name === HTTP_CONNECTION_MANAGER ? patchHttpFilters(f, http, set) : f));
};

/** Merges, filter by filter. */
const mergeInto = <T extends { readonly name?: string | undefined; readonly typed_config?: unknown }>(
  filters: readonly T[],
  patches: readonly ReadyPatch[],
  wanted: (p: ReadyPatch) => string | undefined,
  set: PatchSet,
): readonly T[] => {
  const merges = patches.filter(isMerge);
  if (merges.length === 0) return filters;
  return filters.map((filter) => {
    let out = filter;
    for (const p of merges) {
      const name = wanted(p);
      if (name !== undefined && name !== (out.name ?? '')) continue;
      // Without a name only what has the same type is meant.
      if (name === undefined && p.value['typed_config'] === undefined) continue;
      const merged = mergeFilter(out, p);
      if (merged === undefined) continue;
      set.note(p);
      out = merged;
    }
    return out;
  });
};

const patchHttpFilters = (filter: Listener_Filter, patches: readonly ReadyPatch[], set: PatchSet): Listener_Filter => {
  const config = filter.typed_config as { readonly '@type': string } & HttpConnectionManager;
  if (config?.['@type'] === undefined) return filter;
  const mine = patches.filter((p) => (networkFilterName(p) ?? filter.name) === filter.name);
  if (mine.length === 0) return filter;
  let filters: readonly HttpFilter[] = config.http_filters ?? [];
  for (const p of mine) filters = patchNamed(filters, p, httpFilterName(p), set);
  const named = mine.filter((p) => httpFilterName(p) !== undefined);
  return { ...filter, typed_config: { ...config, http_filters: mergeInto(filters, named, httpFilterName, set) } };
};

/** Routes that stand in the connection manager itself are routes like others. */
const patchInlineRoutes = (filter: Listener_Filter, place: Place): Listener_Filter => {
  if (filter.name !== HTTP_CONNECTION_MANAGER) return filter;
  const config = filter.typed_config as { readonly '@type': string } & HttpConnectionManager;
  if (config?.route_config === undefined) return filter;
  return { ...filter, typed_config: { ...config, route_config: patchRoutes(config.route_config, place) } };
};
