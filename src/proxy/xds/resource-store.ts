// What the proxy was given and when: versions, times and refusals of every resource, as `config_dump` shows them.
// It keeps no configuration: the data plane has that.

/** The last refused attempt at a resource. */
export interface Refusal {
  readonly details: string;
  readonly version: string;
  readonly atMs: number;
  /** What was refused; undefined when it could not even be decoded. */
  readonly resource: Readonly<Record<string, unknown>> | undefined;
}

export interface ResourceRecord {
  readonly name: string;
  /** From the bootstrap's static_resources. */
  readonly isStatic: boolean;
  /** Version of the response that last changed it; '' of a static one. */
  readonly version: string;
  readonly updatedAtMs: number;
  /** Hash of its bytes: an equal one need not be applied again. */
  readonly fingerprint: string;
  /** False while every attempt so far was refused. */
  readonly accepted: boolean;
  readonly refusal: Refusal | undefined;
}

export class ResourceStore {
  readonly #types = new Map<string, Map<string, ResourceRecord>>();
  readonly #versions = new Map<string, string>();

  record(typeUrl: string, name: string): ResourceRecord | undefined {
    return this.#types.get(typeUrl)?.get(name);
  }

  records(typeUrl: string): Iterable<ResourceRecord> {
    return this.#types.get(typeUrl)?.values() ?? [];
  }

  /** The version of the last response of this type that was taken whole. */
  version(typeUrl: string): string {
    return this.#versions.get(typeUrl) ?? '';
  }

  setVersion(typeUrl: string, version: string): void {
    this.#versions.set(typeUrl, version);
  }

  accept(typeUrl: string, name: string, version: string, fingerprint: string, atMs: number, isStatic = false): void {
    this.#put(typeUrl, { name, isStatic, version, fingerprint, updatedAtMs: atMs, accepted: true, refusal: undefined });
  }

  refuse(typeUrl: string, name: string, refusal: Refusal): void {
    const before = this.record(typeUrl, name);
    this.#put(
      typeUrl,
      before
        ? { ...before, refusal }
        : { name, isStatic: false, version: '', fingerprint: '', updatedAtMs: refusal.atMs, accepted: false, refusal },
    );
  }

  /** An update that equals what is there: only an old refusal goes. */
  confirm(typeUrl: string, name: string): void {
    const before = this.record(typeUrl, name);
    if (before?.refusal) this.#put(typeUrl, { ...before, refusal: undefined });
  }

  remove(typeUrl: string, name: string): void {
    this.#types.get(typeUrl)?.delete(name);
  }

  #put(typeUrl: string, record: ResourceRecord): void {
    let type = this.#types.get(typeUrl);
    if (!type) {
      type = new Map();
      this.#types.set(typeUrl, type);
    }
    type.set(record.name, record);
  }
}
