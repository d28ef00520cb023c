// Taps in a further worker: its own sampler while the main thread has taps open, loaded when the first one is.

import type { Node } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import type { OpenTap, Sampler, Tapped } from '../tap/sampler.ts';
import { peerOf } from '../telemetry/peer-metadata.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';

const TELL_MS = 500;

export class WorkerTaps {
  readonly #telemetry: Telemetry;
  readonly #node: Node;
  readonly #clock: Clock;
  readonly #tapped: Tapped;
  #sampler: Promise<Sampler> | undefined;
  #open: readonly OpenTap[] = [];
  #telling = false;

  constructor(telemetry: Telemetry, node: Node, clock: Clock, tapped: Tapped) {
    this.#telemetry = telemetry;
    this.#node = node;
    this.#clock = clock;
    this.#tapped = tapped;
  }

  set(open: readonly OpenTap[]): void {
    this.#open = open;
    this.#sampler ??= import('../tap/sampler.ts').then(
      ({ Sampler }) => new Sampler(peerOf(this.#node.metadata ?? {}), () => this.#clock.monotonicMs(), this.#tapped),
    );
    // The newest counts, also of what came while the module was loaded.
    void this.#sampler.then((sampler) => {
      sampler.set(this.#open);
      this.#telemetry.tap = this.#open.length === 0 ? undefined : sampler;
      this.#tell(sampler);
    });
  }

  /** What was skipped reaches the main thread while taps are open. */
  #tell(sampler: Sampler): void {
    if (this.#telling || this.#open.length === 0) return;
    this.#telling = true;
    this.#clock.after(TELL_MS, () => {
      this.#telling = false;
      sampler.tellSkipped();
      this.#tell(sampler);
    });
  }
}
