// Which kind a document's apiVersion and kind mean, or why none is read.

import { type KindEntry, kinds, refusedGroups, refusedKinds } from './kinds.ts';
import type { ProblemCode } from './problem.ts';
import { nearest } from './reading/key-case.ts';

export type KindSearch =
  | { readonly kind: 'found'; readonly entry: KindEntry }
  | {
      readonly kind: 'refused';
      readonly code: ProblemCode;
      readonly path: 'kind' | 'apiVersion';
      readonly message: string;
      readonly hint: string;
    };

export const splitApiVersion = (apiVersion: string): { readonly group: string; readonly version: string } => {
  const slash = apiVersion.indexOf('/');
  return slash === -1 ? { group: '', version: apiVersion } : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
};

export const findKind = (apiVersion: string, kind: string): KindSearch => {
  const { group, version } = splitApiVersion(apiVersion);
  const entry = kinds.find((k) => k.kind === kind && k.group === group);
  if (entry) return entry.versions.includes(version) ? { kind: 'found', entry } : unknownVersion(kind, apiVersion, entry);
  const known = refusedKinds.find((k) => k.kind === kind && k.group === group);
  if (known) {
    if (known.versions.length > 0 && !known.versions.includes(version)) return unknownVersion(kind, apiVersion, known);
    return notSupported(kind, apiVersion, known.hint);
  }
  const foreign = Object.hasOwn(refusedGroups, group) ? refusedGroups[group] : undefined;
  return foreign === undefined ? unknownKind(kind, apiVersion, group) : notSupported(kind, apiVersion, foreign);
};

const notSupported = (kind: string, apiVersion: string, hint: string): KindSearch => ({
  kind: 'refused',
  code: 'KIND_NOT_SUPPORTED',
  path: 'kind',
  message: `${kind} (${apiVersion}) is not supported by this version`,
  hint,
});

const unknownVersion = (
  kind: string,
  apiVersion: string,
  known: { readonly group: string; readonly versions: readonly string[] },
): KindSearch => ({
  kind: 'refused',
  code: 'VERSION_UNKNOWN',
  path: 'apiVersion',
  message: `${kind} is not served as ${JSON.stringify(apiVersion)}`,
  hint: `write ${known.versions.map((v) => (known.group === '' ? v : `${known.group}/${v}`)).join(' or ')}`,
});

const unknownKind = (kind: string, apiVersion: string, group: string): KindSearch => {
  const all = [...kinds, ...refusedKinds];
  const sameName = all.find((k) => k.kind === kind);
  const inGroup = all.filter((k) => k.group === group).map((k) => k.kind);
  const meant =
    nearest(kind, inGroup) ??
    nearest(
      kind,
      all.map((k) => k.kind),
    );
  const home = sameName && `${kind} is a kind of ${sameName.group === '' ? 'v1' : `${sameName.group}/${sameName.versions[0] ?? 'v1'}`}`;
  const groups = new Set(all.map((k) => k.group).filter((g) => g !== ''));
  const groupMeant = inGroup.length === 0 ? nearest(group, groups) : undefined;
  const list = kinds.map((k) => k.kind).join(', ');
  const hint =
    home ?? (groupMeant ? `did you mean group "${groupMeant}"?` : meant ? `did you mean "${meant}"?` : `kinds that are read: ${list}`);
  return {
    kind: 'refused',
    code: 'KIND_UNKNOWN',
    path: 'kind',
    message: `no kind ${JSON.stringify(kind)} in ${JSON.stringify(apiVersion)}`,
    hint,
  };
};
