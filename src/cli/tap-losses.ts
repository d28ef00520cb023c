// Sidecars that a tap has lost or was refused by, told together: one line for all that go for the same reason in the same moment, not one
// each for a whole mesh that stops.

const TOGETHER_MS = 200;
const NAMED_MOST = 3;

export class TapLosses {
  readonly #say: (text: string) => void;
  readonly #waiting = new Map<string, string[]>();
  #timer: NodeJS.Timeout | undefined;

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  add(who: string, why: string): void {
    this.#waiting.set(why, [...(this.#waiting.get(why) ?? []), who]);
    this.#timer ??= setTimeout(() => this.flush(), TOGETHER_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [why, who] of this.#waiting) this.#say(`${someOf(who)}: ${why}`);
    this.#waiting.clear();
  }
}

/** `a, b, c and 15 more`. */
export const someOf = (names: readonly string[]): string => {
  const some = names.slice(0, NAMED_MOST).join(', ');
  return names.length > NAMED_MOST ? `${some} and ${names.length - NAMED_MOST} more` : some;
};
