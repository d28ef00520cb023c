// Secrets by name, and who uses them. A TLS context registers what it refers to and is told when one of them changes.

import { readFileSync } from 'node:fs';
import { PlanError } from '../../plan/plan-error.ts';
import type { ConfigSource, DataSource, SdsSecretConfig, Secret } from '../../xds/gen/types.ts';

export interface SecretUser {
  secretChanged(): void;
}

export class SecretStore {
  readonly #secrets = new Map<string, Secret>();
  readonly #users = new Map<string, { source: ConfigSource; users: Set<SecretUser> }>();

  find(name: string): Secret | undefined {
    return this.#secrets.get(name);
  }

  all(): Iterable<Secret> {
    return this.#secrets.values();
  }

  /** Throws PlanError when a user cannot take it; nothing has changed then. */
  set(secret: Secret): void {
    const name = secret.name ?? '';
    const before = this.#secrets.get(name);
    this.#secrets.set(name, secret);
    try {
      this.#tell(name);
    } catch (problem) {
      // Refused as a whole: contexts made later, and those told already, go on with the last good one.
      if (before === undefined) this.#secrets.delete(name);
      else {
        this.#secrets.set(name, before);
        this.#tell(name);
      }
      throw problem;
    }
  }

  remove(name: string): void {
    // As Envoy: contexts go on with what they have.
    this.#secrets.delete(name);
  }

  use(config: SdsSecretConfig, user: SecretUser): void {
    const name = config.name ?? '';
    const entry = this.#users.get(name);
    if (entry !== undefined) entry.users.add(user);
    else if (config.sds_config !== undefined) this.#users.set(name, { source: config.sds_config, users: new Set([user]) });
  }

  release(config: SdsSecretConfig, user: SecretUser): void {
    const entry = this.#users.get(config.name ?? '');
    entry?.users.delete(user);
    if (entry?.users.size === 0) this.#users.delete(config.name ?? '');
  }

  referenced(): ReadonlyMap<string, ConfigSource> {
    return new Map([...this.#users].map(([name, entry]) => [name, entry.source]));
  }

  #tell(name: string): void {
    for (const user of [...(this.#users.get(name)?.users ?? [])]) user.secretChanged();
  }
}

/** The text of a data source; a file is read when configuration is compiled. Never put into an error message. */
export const dataSourceText = (source: DataSource | undefined, path: string): string | undefined => {
  if (source === undefined) return undefined;
  if (source.inline_string !== undefined) return source.inline_string;
  if (source.inline_bytes !== undefined) return Buffer.from(source.inline_bytes).toString('utf8');
  if (source.environment_variable !== undefined) {
    const text = process.env[source.environment_variable];
    if (text === undefined) throw new PlanError(`${path}.environment_variable`, `${source.environment_variable} is not set`);
    return text;
  }
  if (source.filename === undefined) return undefined;
  try {
    return readFileSync(source.filename, 'utf8');
  } catch {
    throw new PlanError(`${path}.filename`, `${source.filename} cannot be read`);
  }
};
