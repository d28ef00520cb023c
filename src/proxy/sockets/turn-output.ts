// Gathers connections that have something to write until the current turn of the event loop is over, so that all that was said to
// one peer in a turn leaves in one write. Keeps nothing between turns.

export interface TurnOwner {
  /** The turn is over: write now. */
  flushTurn(): void;
}

export class TurnOutput {
  #waiting: TurnOwner[] = [];
  #spare: TurnOwner[] = [];

  /** Once per turn and owner is the owner's business. */
  add(owner: TurnOwner): void {
    if (this.#waiting.push(owner) === 1) queueMicrotask(this.#run);
  }

  readonly #run = (): void => {
    const owners = this.#waiting;
    this.#waiting = this.#spare;
    for (const owner of owners) owner.flushTurn();
    owners.length = 0;
    this.#spare = owners;
  };
}
