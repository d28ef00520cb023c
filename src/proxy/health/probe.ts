// What a health checker asks a host with: one question at a time, on a connection of its own.

/** How a question ended. */
export interface Finding {
  readonly kind: 'healthy' | 'failed' | 'network';
  /** A failed answer that only several in a row make count. */
  readonly retriable?: boolean;
  readonly degraded?: boolean;
  /** The host asks to be left out of every share at once. */
  readonly excluded?: boolean;
  /** It says it is another service than the one that is meant. */
  readonly wrongService?: boolean;
}

export interface Probe {
  /** `done` is called at most once, and never after cancel(). */
  ask(done: (finding: Finding) => void): void;
  /** No answer is waited for any more; its connection is closed. */
  cancel(): void;
  close(): void;
}
