// What is said of configuration that connected proxies were not given, and of patches that changed nothing in any of them.
import type { Problem } from '../../api/problem.ts';
import { resourceKey } from '../../api/resource.ts';
import type { Patch } from '../../mesh/envoy-filters.ts';
import { patchPath } from '../../mesh/envoy-filters.ts';
import type { Snapshot } from '../../mesh/snapshot.ts';
import type { Note } from '../../translate/note.ts';
import type { PatchReport } from '../../translate/patch-set.ts';
import type { ProxyNode } from '../../translate/proxy-node.ts';
import type { Pipeline } from '../pipeline.ts';

/** Of one proxy. */
export interface ProxyNotes {
  readonly notes: readonly Note[];
  readonly patches: readonly PatchReport[];
}

/** Proxies named in one message; of more, how many. */
const NAMED_MAX = 5;

/** By proxy's name. In order of place. */
export const noteProblems = (proxies: ReadonlyMap<string, ProxyNotes>): readonly Problem[] =>
  [...leftOut(proxies), ...idlePatches(proxies)].sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line));

/** Patches that a connected proxy would not get are refused where they are applied; from a folder they are warned about. */
export const heldBackProblems = (
  pipeline: Pick<Pipeline, 'heldBackPatches'>,
  snapshot: Snapshot,
  nodes: Iterable<ProxyNode>,
): readonly Problem[] => {
  const proxies = new Map<string, Pick<ProxyNotes, 'notes'>>();
  for (const node of nodes) proxies.set(`${node.name}.${node.namespace}`, { notes: pipeline.heldBackPatches(snapshot, node) });
  return leftOut(proxies).map((p) => ({ ...p, severity: 'error' }));
};

const leftOut = (proxies: ReadonlyMap<string, Pick<ProxyNotes, 'notes'>>): readonly Problem[] => {
  const cases = new Map<string, { readonly note: Note; readonly names: string[] }>();
  for (const [name, { notes }] of proxies) {
    for (const note of notes) {
      const { kind, namespace, name: object } = note.resource;
      const key = JSON.stringify([kind, namespace, object, note.path, note.what]);
      const known = cases.get(key);
      if (known === undefined) cases.set(key, { note, names: [name] });
      else known.names.push(name);
    }
  }
  return [...cases.values()].map(({ note, names }) => ({
    code: note.code,
    severity: 'warning',
    file: note.resource.origin.file,
    ...note.resource.origin.at(note.path),
    path: note.path,
    message: `${listed(names)} ${note.what}`,
    hint: 'run the workload behind Envoy (skein up --proxy envoy), or leave it out by a selector',
  }));
};

const listed = (names: readonly string[]): string => {
  const all = [...names].sort();
  const rest = all.length - NAMED_MAX;
  return `${all.slice(0, NAMED_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
};

/**
 * Nothing is said before a proxy is there that the patch selects. Patches are told apart by their place, because not all proxies have the
 * newest generation at one time.
 */
const idlePatches = (proxies: ReadonlyMap<string, ProxyNotes>): readonly Problem[] => {
  const applied = new Set<string>();
  const idle = new Map<string, Patch>();
  for (const { patches } of proxies.values()) {
    for (const report of patches) {
      for (const p of report.applied) applied.add(placeOf(p));
      for (const p of report.idle) idle.set(placeOf(p), p);
    }
  }
  return [...idle].flatMap(([place, p]) => (applied.has(place) ? [] : [idleProblem(p)]));
};

const placeOf = ({ resource, index }: Patch): string => `${resourceKey(resource)} ${index}`;

const idleProblem = (patch: Patch): Problem => {
  const path = patchPath(patch);
  const { origin } = patch.resource;
  return {
    code: 'PATCH_IDLE',
    severity: 'warning',
    file: origin.file,
    ...origin.at(path),
    path,
    message: `${patch.operation} of ${patch.applyTo} changed nothing in any connected proxy that it selects`,
    hint: 'nothing fits its match, or the operation does nothing there; skein proxy-config shows the names that a match can use',
  };
};
