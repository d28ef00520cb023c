// The newest of what comes in: a ring, bounded in number and in bytes as its owner reckons them; whoever comes later takes the place of the
// oldest. No clock, and no meaning of what it holds.

export interface NewestBounds<Item> {
  readonly countMax: number;
  readonly bytesMax: number;
  /** Always the same for the same item. */
  readonly bytesOf: (item: Item) => number;
}

export class Newest<Item extends object> {
  readonly #bounds: NewestBounds<Item>;
  readonly #ring: (Item | undefined)[] = [];
  #first = 0;
  #count = 0;
  #bytes = 0;

  constructor(bounds: NewestBounds<Item>) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** One that is larger than all that may be held is held alone. */
  add(item: Item): void {
    const { countMax, bytesMax, bytesOf } = this.#bounds;
    this.#bytes += bytesOf(item);
    while (this.#count > 0 && (this.#count >= countMax || this.#bytes > bytesMax)) this.#dropOldest();
    this.#ring[(this.#first + this.#count) % countMax] = item;
    this.#count++;
  }

  *oldestFirst(): Iterable<Item> {
    for (let i = 0; i < this.#count; i++) {
      const item = this.#at(i);
      if (item !== undefined) yield item;
    }
  }

  *newestFirst(): Iterable<Item> {
    for (let i = this.#count - 1; i >= 0; i--) {
      const item = this.#at(i);
      if (item !== undefined) yield item;
    }
  }

  #at(i: number): Item | undefined {
    return this.#ring[(this.#first + i) % this.#bounds.countMax];
  }

  #dropOldest(): void {
    const oldest = this.#at(0);
    if (oldest !== undefined) this.#bytes -= this.#bounds.bytesOf(oldest);
    this.#ring[this.#first] = undefined;
    this.#first = (this.#first + 1) % this.#bounds.countMax;
    this.#count--;
  }
}
