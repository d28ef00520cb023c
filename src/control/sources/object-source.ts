// Objects given by `apply`, one file each in the state folder: the text as it was applied, so that positions still
// speak of the user's file. Objects here have a creation time; objects of watched files have none.
import { join } from 'node:path';
import { hasErrors, type Problem } from '../../api/problem.ts';
import { type Resource, resourceKey } from '../../api/resource.ts';
import { readStateFolder, removeStateFile, stateFileName, writeStateFile } from '../state-file.ts';
import type { ParseText, Source, SourceState } from './source.ts';

/** A text, and which of the objects in it is meant. */
export interface StoredObject {
  readonly file: string;
  readonly text: string;
  readonly index: number;
  readonly namespace: string;
  readonly createdAt: string;
}

export interface ObjectKey {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export interface ObjectSourceOptions {
  readonly folder: string;
  readonly parse: (file: string, text: string, defaultNamespace: string) => ReturnType<ParseText>;
}

/** Stands for "no namespace" in a path; no namespace can be called so. */
const CLUSTER_WIDE = '_cluster';

export class ObjectSource implements Source {
  readonly kind = 'objects';
  readonly #options: ObjectSourceOptions;
  readonly #objects = new Map<string, { readonly resource: Resource; readonly stored: StoredObject }>();
  #problems: readonly Problem[] = [];
  #state: SourceState = { resources: [], problems: [], files: [] };
  #changed: (() => void) | undefined;

  constructor(options: ObjectSourceOptions) {
    this.#options = options;
  }

  get state(): SourceState {
    return this.#state;
  }

  start(changed: () => void): void {
    this.#load();
    this.#publish();
    this.#changed = changed;
  }

  close(): void {
    this.#changed = undefined;
  }

  get(key: ObjectKey): { readonly resource: Resource; readonly stored: StoredObject } | undefined {
    return this.#objects.get(resourceKey(key));
  }

  /** The object in force is the one that was applied, not one of a watched file. Those of a generation are copies. */
  holds(resource: Resource): boolean {
    const own = this.get(resource)?.resource;
    const { origin, creationTimestamp } = resource;
    return own?.creationTimestamp === creationTimestamp && own?.origin.file === origin.file && own.origin.line === origin.line;
  }

  /** The resource is what `stored` parses to. All are on disk when this returns. */
  put(objects: readonly { readonly resource: Resource; readonly stored: StoredObject }[]): void {
    for (const { resource, stored } of objects) {
      writeStateFile(this.#path(resource), JSON.stringify(stored));
      this.#objects.set(resourceKey(resource), { resource: withCreation(resource, stored), stored });
    }
    this.#publish();
  }

  /** False when there is no such object. */
  remove(key: ObjectKey): boolean {
    if (!this.#objects.delete(resourceKey(key))) return false;
    removeStateFile(this.#path(key));
    this.#publish();
    return true;
  }

  #path({ kind, namespace, name }: ObjectKey): string {
    const folder = namespace === '' ? CLUSTER_WIDE : encodeURIComponent(namespace);
    return join(this.#options.folder, encodeURIComponent(kind), folder, stateFileName(name));
  }

  #load(): void {
    const problems: Problem[] = [];
    for (const { path, text } of readStateFolder(this.#options.folder)) {
      const stored = parseStored(text);
      const parsed = stored && this.#options.parse(stored.file, stored.text, stored.namespace);
      const resource = stored && parsed && !hasErrors(parsed.problems) ? parsed.resources[stored.index] : undefined;
      if (stored && resource) {
        this.#objects.set(resourceKey(resource), { resource: withCreation(resource, stored), stored });
        continue;
      }
      // Written by another version, or damaged: left on disk for a person to look at.
      const message = 'the stored object cannot be read by this version';
      problems.push({
        code: 'STORED_OBJECT_UNREADABLE',
        severity: 'error',
        file: path,
        line: 1,
        column: 1,
        path: '',
        message,
        hint: 'apply it again',
      });
      problems.push(...(parsed?.problems ?? []));
    }
    this.#problems = problems;
  }

  #publish(): void {
    const resources = [...this.#objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, o]) => o.resource);
    this.#state = { resources, problems: this.#problems, files: [] };
    this.#changed?.();
  }
}

const withCreation = (resource: Resource, stored: StoredObject): Resource => ({ ...resource, creationTimestamp: stored.createdAt });

const parseStored = (text: string): StoredObject | undefined => {
  try {
    const { file, text: body, index, namespace, createdAt } = JSON.parse(text) as Partial<Record<keyof StoredObject, unknown>>;
    if (typeof file !== 'string' || typeof body !== 'string' || typeof index !== 'number') return undefined;
    if (typeof namespace !== 'string' || typeof createdAt !== 'string') return undefined;
    return { file, text: body, index, namespace, createdAt };
  } catch {
    return undefined;
  }
};
