// The entries of workloads that came by themselves: a source of objects, one file each in the state folder, so that a restarted control
// plane knows them before they are back. What changes is written within a moment, a slice at a time and however often it changes once: neither
// a crowd that comes nor a workload that flaps holds up the others. What a killed process had not written the workloads bring again.
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Resource } from '../../api/resource.ts';
import { PUSH_SLICE_MS, REGISTRATION_WRITE_MS } from '../limits.ts';
import type { Source, SourceState } from '../sources/source.ts';
import { readStateFolder, removeStateFile, stateFileName, writeStateFile } from '../state-file.ts';
import { isResourceName } from './instance-document.ts';
import { type Registration, resourceOf } from './registration-entry.ts';

interface Held {
  readonly registration: Registration;
  readonly resource: Resource<'WorkloadEntry'>;
}

/** A power failure may lose what the workloads bring again. */
const NOT_DURABLE = { durable: false } as const;

export class RegistrationStore implements Source {
  readonly kind = 'registrations';
  readonly #folder: string;
  readonly #held = new Map<string, Held>();
  readonly #unwritten = new Set<string>();
  #state: SourceState | undefined;
  #changed: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(folder: string) {
    this.#folder = folder;
    for (const { path, text } of readStateFolder(folder)) {
      const registration = parseStored(text);
      if (registration) this.#held.set(keyOf(registration), { registration, resource: resourceOf(registration, undefined) });
      else removeStateFile(path); // the workload registers again
    }
  }

  get state(): SourceState {
    this.#state ??= {
      resources: [...this.#held].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { resource }]) => resource),
      problems: [],
      files: [],
    };
    return this.#state;
  }

  get size(): number {
    return this.#held.size;
  }

  start(changed: () => void): void {
    this.#changed = changed;
  }

  close(): void {
    this.#changed = undefined;
    this.#write(Number.POSITIVE_INFINITY);
  }

  all(): readonly Registration[] {
    return [...this.#held.values()].map(({ registration }) => registration);
  }

  get(namespace: string, name: string): Registration | undefined {
    return this.#held.get(keyOf({ namespace, name }))?.registration;
  }

  /** What stands behind a resource that came from here, as it was when the mesh was made or as it is now. */
  find(resource: Resource): Registration | undefined {
    if (resource.kind !== 'WorkloadEntry') return undefined;
    const registration = this.get(resource.namespace, resource.name);
    return registration?.spec === resource.spec ? registration : undefined;
  }

  put(registration: Registration): void {
    const key = keyOf(registration);
    const before = this.#held.get(key);
    const resource = resourceOf(registration, before?.resource);
    this.#held.set(key, { registration, resource });
    this.#writeSoon(key);
    if (resource !== before?.resource) this.#publish();
  }

  remove({ namespace, name }: Pick<Registration, 'namespace' | 'name'>): void {
    if (!this.#held.delete(keyOf({ namespace, name }))) return;
    this.#unwritten.delete(keyOf({ namespace, name }));
    removeStateFile(this.#path({ namespace, name }));
    this.#publish();
  }

  #publish(): void {
    this.#state = undefined;
    this.#changed?.();
  }

  #writeSoon(key: string): void {
    this.#unwritten.add(key);
    this.#timer ??= setTimeout(() => this.#write(PUSH_SLICE_MS), REGISTRATION_WRITE_MS);
    this.#timer.unref();
  }

  #write(sliceMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const untilMs = performance.now() + sliceMs;
    for (const key of this.#unwritten) {
      if (performance.now() > untilMs) {
        this.#writeSoon(key);
        return;
      }
      this.#unwritten.delete(key);
      const registration = this.#held.get(key)?.registration;
      if (registration) writeStateFile(this.#path(registration), JSON.stringify(registration), NOT_DURABLE);
    }
  }

  #path({ namespace, name }: Pick<Registration, 'namespace' | 'name'>): string {
    return join(this.#folder, encodeURIComponent(namespace), stateFileName(name));
  }
}

const keyOf = ({ namespace, name }: Pick<Registration, 'namespace' | 'name'>): string => `${namespace}/${name}`;

/** Written by us alone: what is looked at is that the file is whole and of this version. */
const parseStored = (text: string): Registration | undefined => {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof Registration, unknown>>;
    const texts = [value.group, value.serviceAccount, value.workload, value.createdAt, value.controller, value.probedBy];
    if (!isResourceName(value.name) || !isResourceName(value.namespace) || texts.some((t) => typeof t !== 'string')) return undefined;
    if (typeof value.spec !== 'object' || value.spec === null || typeof value.annotations !== 'object') return undefined;
    return value as unknown as Registration;
  } catch {
    return undefined;
  }
};
