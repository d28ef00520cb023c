// The running replicas of the mesh, as whoever starts them registers them. On disk before the registration is
// answered, so that a control plane killed at any moment knows every replica when it is back.
import { join } from 'node:path';
import type { Instance } from '../../mesh/instance.ts';
import type { EventHub } from '../admin/event-hub.ts';
import { readStateFolder, removeStateFile, stateFileName, writeStateFile } from '../state-file.ts';
import { parseInstance } from './instance-document.ts';

export class InstanceRegistry {
  readonly #folder: string;
  readonly #events: EventHub;
  readonly #instances = new Map<string, Instance>();
  #changed: (() => void) | undefined;

  constructor(folder: string, events: EventHub) {
    this.#folder = folder;
    this.#events = events;
    for (const { path, text } of readStateFolder(folder)) {
      const instance = readStored(text);
      if (instance) this.#instances.set(keyOf(instance), instance);
      else removeStateFile(path); // whoever runs the replica registers it again
    }
  }

  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  /** Sorted by namespace and name. */
  list(): readonly Instance[] {
    return [...this.#instances].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, instance]) => instance);
  }

  get(namespace: string, name: string): Instance | undefined {
    return this.#instances.get(keyOf({ namespace, name }));
  }

  /** Undefined where nobody has the address. */
  at(address: string): Instance | undefined {
    for (const instance of this.#instances.values()) if (instance.address === address) return instance;
    return undefined;
  }

  put(instance: Instance): void {
    const key = keyOf(instance);
    const before = this.#instances.get(key);
    const text = JSON.stringify(instance);
    if (before && JSON.stringify(before) === text) return;
    writeStateFile(this.#path(instance), text);
    this.#instances.set(key, instance);
    const { namespace, name, ready } = instance;
    this.#events.publish({ type: 'instance', namespace, name, state: before ? 'changed' : 'registered', ready });
    this.#changed?.();
  }

  /** False when there is no such replica. */
  remove(namespace: string, name: string): boolean {
    if (!this.#instances.delete(keyOf({ namespace, name }))) return false;
    removeStateFile(this.#path({ namespace, name }));
    this.#events.publish({ type: 'instance', namespace, name, state: 'removed', ready: false });
    this.#changed?.();
    return true;
  }

  #path({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
    return join(this.#folder, encodeURIComponent(namespace), stateFileName(name));
  }
}

const keyOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string => `${namespace}/${name}`;

const readStored = (text: string): Instance | undefined => {
  try {
    const value = JSON.parse(text) as { readonly namespace?: unknown; readonly name?: unknown };
    if (typeof value.namespace !== 'string' || typeof value.name !== 'string') return undefined;
    const parsed = parseInstance(value.namespace, value.name, value);
    return parsed.ok ? parsed.value : undefined;
  } catch {
    return undefined;
  }
};
