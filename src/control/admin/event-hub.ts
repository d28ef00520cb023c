// What happens in the control plane, for the admin API's event stream and for waiting callers. Listeners are called
// in turn and at once; one that throws is a bug of ours and stops the process.

export type ControlEvent =
  | { readonly type: 'generation'; readonly generation: number; readonly problems: number }
  | {
      readonly type: 'proxy';
      readonly namespace: string;
      readonly name: string;
      readonly state: 'connected' | 'disconnected' | 'synced' | 'nack';
      readonly detail?: string;
    }
  | {
      readonly type: 'instance';
      readonly namespace: string;
      readonly name: string;
      readonly state: 'registered' | 'changed' | 'removed';
      readonly ready: boolean;
    }
  | {
      readonly type: 'problem';
      readonly file: string;
      readonly line: number;
      readonly column: number;
      readonly code: string;
      readonly severity: string;
      readonly message: string;
    };

export class EventHub {
  readonly #listeners = new Set<(event: ControlEvent) => void>();

  /** Returns how to stop listening. */
  subscribe(listener: (event: ControlEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish(event: ControlEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}
