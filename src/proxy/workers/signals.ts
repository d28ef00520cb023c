// Words between workers about counts that they share: "look anew at KEY". A word may come late or twice; it carries nothing,
// because what it is about lies in shared memory.

export class Signals {
  readonly #send: (key: string) => void;
  readonly #heard = new Map<string, Set<() => void>>();

  /** `send` brings a word to every other worker. */
  constructor(send: (key: string) => void) {
    this.#send = send;
  }

  /** Answers how to stop listening. */
  on(key: string, heard: () => void): () => void {
    const all = this.#heard.get(key) ?? new Set();
    all.add(heard);
    this.#heard.set(key, all);
    return () => {
      all.delete(heard);
      if (all.size === 0 && this.#heard.get(key) === all) this.#heard.delete(key);
    };
  }

  tell(key: string): void {
    this.#send(key);
  }

  /** Another worker has told. */
  hear(key: string): void {
    for (const heard of this.#heard.get(key) ?? []) heard();
  }
}
