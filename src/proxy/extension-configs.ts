// Configurations of filters that come under a name (ECDS): what was given, and the filters that follow it. A configuration is taken by
// every filter of its name or by none. A removed one stands on in filters that have no default, as in Envoy.

import { PlanError } from '../plan/plan-error.ts';
import type { AnyMessage, ConfigSource, Core_TypedExtensionConfig, ExtensionConfigSource } from '../xds/gen/types.ts';
import { typeNameOf, unwrapConfig } from './extension-config.ts';

/** A place in a filter chain. */
interface ExtensionUser {
  /** Throws PlanError when the place cannot take it; nothing has changed then. What it answers puts it into force. */
  prepare(config: AnyMessage): () => void;
  /** Nothing comes in time: whatever there is takes the place. */
  giveUp(): void;
  /** It is gone: the default takes its place again. */
  removed(): void;
}

interface Entry {
  readonly source: ConfigSource;
  readonly users: Set<ExtensionUser>;
}

export class ExtensionConfigs {
  readonly #given = new Map<string, Core_TypedExtensionConfig>();
  readonly #entries = new Map<string, Entry>();

  /** Throws PlanError. */
  set(extension: Core_TypedExtensionConfig): void {
    const name = extension.name ?? '';
    const config = unwrapConfig(extension.typed_config);
    if (config === undefined) throw new PlanError('typed_config', 'is missing');
    const users = [...(this.#entries.get(name)?.users ?? [])];
    const swaps = users.map((user) => user.prepare(config));
    this.#given.set(name, extension);
    for (const swap of swaps) swap();
  }

  remove(name: string): void {
    if (!this.#given.delete(name)) return;
    for (const user of this.#entries.get(name)?.users ?? []) user.removed();
  }

  giveUp(name: string): void {
    for (const user of this.#entries.get(name)?.users ?? []) user.giveUp();
  }

  referenced(): ReadonlyMap<string, ConfigSource> {
    return new Map([...this.#entries].map(([name, { source }]) => [name, source]));
  }

  all(): Iterable<Core_TypedExtensionConfig> {
    return this.#given.values();
  }

  /** What is there is told at once, if it can be taken. The answer gives the place up. */
  use(name: string, source: ConfigSource, user: ExtensionUser): () => void {
    const entry = this.#entries.get(name) ?? { source, users: new Set() };
    this.#entries.set(name, entry);
    entry.users.add(user);
    const given = unwrapConfig(this.#given.get(name)?.typed_config);
    if (given !== undefined) {
      try {
        user.prepare(given)();
      } catch (problem) {
        if (!(problem instanceof PlanError)) throw problem; // it was made for other places: this one waits for its own
      }
    }
    return () => {
      entry.users.delete(user);
      if (entry.users.size > 0 || this.#entries.get(name) !== entry) return;
      this.#entries.delete(name);
      this.#given.delete(name);
    };
  }
}

/** Of `config_discovery`: what a filter may be, and what it is until it is told. Throws PlanError. */
export interface DiscoverySettings {
  readonly source: ConfigSource;
  readonly types: ReadonlySet<string>;
  readonly fallback: AnyMessage | undefined;
  readonly waits: boolean;
}

export const discoverySettings = (config: ExtensionConfigSource, path: string): DiscoverySettings => {
  const types = (config.type_urls ?? []).map((url) => url.slice(url.lastIndexOf('/') + 1));
  if (types.length === 0) throw new PlanError(`${path}.type_urls`, 'at least one is required');
  const fallback = unwrapConfig(config.default_config);
  if (fallback !== undefined && !types.includes(typeNameOf(fallback)))
    throw new PlanError(`${path}.default_config`, `${typeNameOf(fallback)} is none of type_urls`);
  const atOnce = config.apply_default_config_without_warming === true;
  if (atOnce && fallback === undefined) throw new PlanError(`${path}.default_config`, 'is required to be applied without warming');
  if (config.config_source === undefined) throw new PlanError(`${path}.config_source`, 'is required');
  return { source: config.config_source, types: new Set(types), fallback, waits: !atOnce };
};
