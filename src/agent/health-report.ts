// What is known of the workload's health, for every stream to the control plane: the last report, and word of the next.

export interface HealthState {
  readonly healthy: boolean;
  /** Why not. */
  readonly message: string;
}

export class HealthReport {
  readonly #watchers = new Set<(state: HealthState) => void>();
  #current: HealthState | undefined;

  set(state: HealthState): void {
    this.#current = state;
    for (const watcher of [...this.#watchers]) watcher(state);
  }

  /** Told at once what is known. Returns how to stop. */
  watch(watcher: (state: HealthState) => void): () => void {
    this.#watchers.add(watcher);
    if (this.#current) watcher(this.#current);
    return () => this.#watchers.delete(watcher);
  }
}
