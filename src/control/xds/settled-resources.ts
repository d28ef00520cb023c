// Resources that stay the same objects while they say the same: a comment, or a file that is written in another order, moves objects and
// changes none. The origin of such an object is the one thing that moves with its text, so that what is said about it names the line where
// it stands now; nothing that is sent to a proxy depends on it.
import { type Origin, type Resource, resourceKey } from '../../api/resource.ts';
import { equal } from '../../base/memo.ts';

interface Settled {
  /** As it was read last. */
  read: Resource;
  readonly resource: Resource;
  readonly origin: MovingOrigin;
}

export class SettledResources {
  #known = new Map<string, Settled>();

  /** `list` has one object a key. What it no longer has is forgotten. */
  settle(list: readonly Resource[]): readonly Resource[] {
    const now = new Map<string, Settled>();
    const out = list.map((read) => {
      const key = resourceKey(read);
      const settled = settle(this.#known.get(key), read);
      now.set(key, settled);
      return settled.resource;
    });
    this.#known = now;
    return out;
  }
}

const settle = (known: Settled | undefined, read: Resource): Settled => {
  if (known !== undefined) {
    if (known.read === read) return known;
    if (saysTheSame({ ...known.read, origin: undefined }, { ...read, origin: undefined })) {
      known.read = read;
      known.origin.moveTo(read.origin);
      return known;
    }
  }
  const origin = new MovingOrigin(read.origin);
  return { read, resource: { ...read, origin }, origin };
};

/** The order of keys counts too: headers are set in the order in which they are written. */
const saysTheSame = (a: object, b: object): boolean => equal(a, b) && JSON.stringify(a) === JSON.stringify(b);

class MovingOrigin implements Origin {
  #now: Origin;

  constructor(origin: Origin) {
    this.#now = origin;
  }

  moveTo(origin: Origin): void {
    this.#now = origin;
  }

  get file(): string {
    return this.#now.file;
  }
  get line(): number {
    return this.#now.line;
  }
  at(path: string): ReturnType<Origin['at']> {
    return this.#now.at(path);
  }
}
