// A message that is encoded already, to stand inside another one in place of its object: what was encoded once is copied, not made again.
// Nobody can look into it.

export class EncodedMessage {
  readonly type: string;
  readonly bytes: Uint8Array;
  /** Hash of the bytes. */
  readonly #digest: string;

  constructor(type: string, bytes: Uint8Array, digest: string) {
    this.type = type;
    this.bytes = bytes;
    this.#digest = digest;
  }

  /** Tells messages apart that hold it. */
  toJSON(): string {
    return this.#digest;
  }
}
