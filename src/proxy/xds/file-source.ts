// `path_config_source`: resources of one type from a file that holds a DiscoveryResponse as JSON or YAML, read at start
// and again whenever the file is written or moved into place. Answers like a stream would, without ACK or NACK.
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Log } from '../../base/log.ts';
import { encodeNamed } from '../../xds/codec.ts';
import type { ReceivedResponse, ResourceProblem } from '../../xds/discovery-client.ts';
import { fromJson } from '../../xds/json.ts';
import { type ResourceType, resourceName } from '../../xds/resource-types.ts';

export interface FileSourceOptions {
  readonly path: string;
  /** Watched instead of the file's own directory (symbolic links swapped as Kubernetes does). */
  readonly watchedDirectory?: string | undefined;
  readonly type: ResourceType;
  readonly apply: (response: ReceivedResponse) => readonly ResourceProblem[];
  readonly log: Log;
}

/** Writers save in several steps: one reading after the last of them. */
const SETTLE_MS = 20;

export class FileSource {
  readonly #options: FileSourceOptions;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #revision = 0;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  start(): void {
    const { path, watchedDirectory, log } = this.#options;
    void this.#load(); // it reports its own failures
    try {
      this.#watcher = watch(watchedDirectory ?? dirname(path), (_event, file) => {
        if (watchedDirectory === undefined && file !== null && file !== basename(path)) return;
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => void this.#load(), SETTLE_MS);
      });
    } catch (e) {
      log.warning('cannot watch a configuration file', { path, reason: String(e) });
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
  }

  async #load(): Promise<void> {
    const { path, type, apply, log } = this.#options;
    try {
      const text = await readFile(path, 'utf8');
      const json: unknown = /\.ya?ml$/.test(path) ? (await import('yaml')).parse(text) : JSON.parse(text);
      const response = fromJson('envoy.service.discovery.v3.DiscoveryResponse', json);
      if (this.#closed) return;
      const version = response.version_info ?? `${++this.#revision}`;
      const resources = (response.resources ?? []).map((any) => {
        const { '@type': _, ...fields } = any as { readonly '@type'?: string };
        return { name: resourceName(type, fields), bytes: encodeNamed(type.type, fields), decode: () => ({ ...fields }) };
      });
      for (const p of apply({ type, version, resources })) log.warning('a file resource is refused', { path, ...p });
    } catch (e) {
      log.warning('a configuration file cannot be read', { path, reason: e instanceof Error ? e.message : String(e) });
    }
  }
}
