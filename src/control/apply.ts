// `apply`: documents checked all together, then stored all together. Any problem of severity error refuses the whole of it,
// and every problem is told at once. An object that a watched file holds is that file's.
import type { Problem } from '../api/problem.ts';
import { type Resource, resourceKey } from '../api/resource.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Model } from './model.ts';
import type { Pipeline } from './pipeline.ts';
import type { FolderSource } from './sources/folder-source.ts';
import type { ObjectSource, StoredObject } from './sources/object-source.ts';
import { splitDocuments } from './sources/split-documents.ts';
import { unenforcedProblems } from './unenforced-policies.ts';
import type { AdsService } from './xds/ads-service.ts';
import { heldBackProblems } from './xds/proxy-notes.ts';

export interface ApplyDocument {
  readonly file: string;
  readonly text: string;
}

export interface AppliedObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly action: 'created' | 'configured' | 'unchanged';
}

export interface Applied {
  readonly applied: readonly AppliedObject[];
  readonly generation: number;
  readonly warnings: readonly Problem[];
}

export interface ApplyOptions {
  readonly pipeline: Pipeline;
  readonly model: Model;
  /** A policy or patch that a connected proxy cannot carry out is refused. */
  readonly ads: Pick<AdsService, 'nodes'>;
  readonly folders: readonly FolderSource[];
  readonly objects: ObjectSource;
  readonly now: () => number;
}

interface Candidate {
  readonly resource: Resource;
  readonly stored: StoredObject;
}

export const applyDocuments = (
  documents: readonly ApplyDocument[],
  settings: { readonly namespace: string; readonly dryRun: boolean },
  options: ApplyOptions,
): Result<Applied, readonly Problem[]> => {
  const { candidates, problems } = readCandidates(documents, settings.namespace, options);
  problems.push(...duplicates(candidates), ...ownedByFiles(candidates, options.folders));
  const { model } = options;
  if (!problems.some(isError)) {
    const files = new Set(candidates.map((c) => c.resource.origin.file));
    const nodes = options.ads.nodes();
    const check = (snapshot: Snapshot) => [
      ...unenforcedProblems(options.pipeline, snapshot, nodes),
      ...heldBackProblems(options.pipeline, snapshot, nodes),
    ];
    const said = model.trial(
      candidates.map((c) => aged(c, options.objects)),
      check,
    );
    problems.push(...said.filter((p) => files.has(p.file)));
  }
  if (problems.some(isError)) return err(problems);
  const changes = candidates.map((c) => ({ candidate: c, applied: actionOf(c.resource, options.objects) }));
  const applied = changes.map((c) => c.applied);
  const changed = changes.filter((c) => c.applied.action !== 'unchanged').map((c) => c.candidate);
  if (settings.dryRun || changed.length === 0) return ok({ applied, generation: model.current?.number ?? 0, warnings: problems });
  options.objects.put(changed.map((c) => keepCreation(c, options.objects)));
  return ok({ applied, generation: model.rebuild()?.number ?? 0, warnings: problems });
};

const isError = (p: Problem): boolean => p.severity === 'error';

const readCandidates = (documents: readonly ApplyDocument[], namespace: string, { pipeline, now }: ApplyOptions) => {
  const problems: Problem[] = [];
  const candidates: Candidate[] = [];
  const createdAt = new Date(now()).toISOString();
  const parse = (file: string, text: string) => pipeline.parseDocuments(file, text, { defaultNamespace: namespace });
  for (const { file, text } of documents) {
    const whole = parse(file, text);
    problems.push(...whole.problems);
    if (whole.problems.some(isError)) continue;
    const pieces = splitDocuments(text).map((piece) => ({ text: piece, resources: parse(file, piece).resources }));
    const split = pieces.flatMap((piece) => piece.resources.map((resource, index) => ({ resource, text: piece.text, index })));
    // Cut apart, the documents must still be the same objects; where they are not (anchors of YAML directives), the whole text is kept.
    const same = split.length === whole.resources.length && split.every((s, i) => sameKey(s.resource, whole.resources[i]));
    const found = same ? split : whole.resources.map((resource, index) => ({ resource, text, index }));
    for (const { resource, text: own, index } of found)
      candidates.push({ resource, stored: { file, text: own, index, namespace, createdAt } });
  }
  return { candidates, problems };
};

const sameKey = (a: Resource, b: Resource | undefined): boolean => b !== undefined && resourceKey(a) === resourceKey(b);

const at = (resource: Resource) => ({ file: resource.origin.file, ...resource.origin.at('metadata.name'), path: 'metadata.name' });

const label = (r: Resource): string => `${r.kind} ${r.namespace === '' ? '' : `${r.namespace}/`}${r.name}`;

const duplicates = (candidates: readonly Candidate[]): Problem[] => {
  const first = new Map<string, Resource>();
  const problems: Problem[] = [];
  for (const { resource } of candidates) {
    const key = resourceKey(resource);
    const other = first.get(key);
    if (!other) {
      first.set(key, resource);
      continue;
    }
    const message = `${label(resource)} is also written at ${other.origin.file}:${other.origin.line}`;
    problems.push({ ...at(resource), code: 'DUPLICATE_OBJECT', severity: 'error', message });
  }
  return problems;
};

const ownedByFiles = (candidates: readonly Candidate[], folders: readonly FolderSource[]): Problem[] => {
  const owners = new Map(folders.flatMap((f) => f.state.resources).map((r) => [resourceKey(r), r]));
  return candidates.flatMap(({ resource }): Problem[] => {
    const owner = owners.get(resourceKey(resource));
    if (!owner) return [];
    const message = `${label(resource)} belongs to the watched file ${owner.origin.file}:${owner.origin.line}`;
    return [{ ...at(resource), code: 'OWNED_BY_FILE', severity: 'error', message, hint: 'edit that file instead' }];
  });
};

const actionOf = (resource: Resource, objects: ObjectSource): AppliedObject => {
  const { kind, namespace, name } = resource;
  const before = objects.get(resource)?.resource;
  const action = !before ? 'created' : content(before) === content(resource) ? 'unchanged' : 'configured';
  return { kind, namespace, name, action };
};

/** What an object says, without where it was written. */
const content = ({ apiVersion, labels, annotations, spec }: Resource): string => JSON.stringify([apiVersion, labels, annotations, spec]);

/** As it will be when it is stored: what is older wins. */
const aged = (candidate: Candidate, objects: ObjectSource): Resource => ({
  ...candidate.resource,
  creationTimestamp: keepCreation(candidate, objects).stored.createdAt,
});

const keepCreation = ({ resource, stored }: Candidate, objects: ObjectSource): Candidate => {
  const before = objects.get(resource);
  return before ? { resource, stored: { ...stored, createdAt: before.stored.createdAt } } : { resource, stored };
};
