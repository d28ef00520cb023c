// The operations on a list of named things (filters, routes): where a patch puts its value, and which element it takes away.

import { type ListMerge, mergeAnys, mergeMessages } from './patch-merge.ts';
import type { PatchSet, ReadyPatch } from './patch-set.ts';

export const isMerge = (p: ReadyPatch): boolean => p.operation === 'MERGE' || p.operation === 'MERGE_AND_REPLACE_LIST';

export const listMerge = (p: ReadyPatch): ListMerge => (p.operation === 'MERGE_AND_REPLACE_LIST' ? 'replace' : 'append');

/** `from` of the patch's own type merged into `into`. */
export const mergePatch = <T extends object>(into: T, p: ReadyPatch, value: object = p.value): T =>
  mergeMessages(p.type, into as Readonly<Record<string, unknown>>, value as Readonly<Record<string, unknown>>, listMerge(p)) as T;

/** A filter keeps its place; its name and its configuration change. A configuration of another type changes nothing. */
export const mergeFilter = <T extends { readonly name?: string | undefined; readonly typed_config?: unknown }>(
  filter: T,
  p: ReadyPatch,
): T | undefined => {
  if (filter.typed_config === undefined) return undefined;
  const name = (p.value['name'] as string | undefined) || filter.name;
  const wanted = p.value['typed_config'];
  if (wanted === undefined) return name === filter.name ? undefined : { ...filter, name };
  const merged = mergeAnys(filter.typed_config, wanted);
  return merged === undefined ? undefined : { ...filter, name, typed_config: merged };
};

/** `wanted`: the name that the patch asks for, undefined when it asks for none. Everything but merges. */
export const patchNamed = <T extends { readonly name?: string | undefined }>(
  list: readonly T[],
  p: ReadyPatch,
  wanted: string | undefined,
  set: PatchSet,
): readonly T[] => {
  const value = p.value as T;
  const at = wanted === undefined ? -1 : list.findIndex((e) => (e.name ?? '') === wanted);
  const put = (index: number, replaced = 0): readonly T[] => {
    set.note(p);
    return [...list.slice(0, index), value, ...list.slice(index + replaced)];
  };
  switch (p.operation) {
    case 'ADD':
      return put(list.length);
    case 'INSERT_FIRST':
      return put(0);
    case 'INSERT_BEFORE':
      return wanted === undefined ? put(0) : at === -1 ? list : put(at);
    case 'INSERT_AFTER':
      return wanted === undefined ? put(list.length) : at === -1 ? list : put(at + 1);
    case 'REPLACE':
      return at === -1 ? list : put(at, 1);
    case 'REMOVE':
      if (at === -1) return list;
      set.note(p);
      return list.filter((e) => (e.name ?? '') !== wanted);
    default:
      return list;
  }
};
