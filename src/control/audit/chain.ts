// The audit log's chain: each line is one JSON object that holds the SHA-256 of the line before it, so a line that was changed, removed or
// moved is found; the hash of the last line stands in a file of its own, so a cut end is found too. Pure: text in, verdict out.
import { createHash } from 'node:crypto';

/** Before the first line. */
export const GENESIS = '0'.repeat(64);

export interface ChainHead {
  /** Of the last line. */
  readonly seq: number;
  readonly hash: string;
  /** What the oldest line that is kept must say. */
  readonly first: { readonly seq: number; readonly prev: string };
}

export const EMPTY_HEAD: ChainHead = { seq: 0, hash: GENESIS, first: { seq: 1, prev: GENESIS } };

export const hashOf = (line: string): string => createHash('sha256').update(line).digest('hex');

export type AuditFields = Readonly<Record<string, unknown>>;

export const chainLine = (seq: number, fields: AuditFields, prev: string): string => JSON.stringify({ seq, ...fields, prev });

export const readHead = (text: string): ChainHead | undefined => {
  const read = object(text);
  const first = read?.['first'];
  if (read === undefined || typeof first !== 'object' || first === null || !('seq' in first) || !('prev' in first)) return undefined;
  const { seq, hash } = read;
  if (typeof seq !== 'number' || typeof hash !== 'string' || typeof first.seq !== 'number' || typeof first.prev !== 'string')
    return undefined;
  return { seq, hash, first: { seq: first.seq, prev: first.prev } };
};

const object = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
};

export interface ChainLine {
  readonly seq: number;
  readonly prev: string;
  readonly hash: string;
  readonly entry: Readonly<Record<string, unknown>>;
}

export const readLine = (line: string): ChainLine | undefined => {
  const entry = object(line);
  const seq = entry?.['seq'];
  const prev = entry?.['prev'];
  if (entry === undefined || typeof seq !== 'number' || typeof prev !== 'string') return undefined;
  return { seq, prev, hash: hashOf(line), entry };
};

export interface ChainFault {
  readonly file: string;
  /** From 1; 0 for a file, or for lines that are not there. */
  readonly line: number;
  readonly seq: number;
  readonly problem: string;
}

const FAULTS_MAX = 50;

/** Takes lines in the order of their files, then says what is wrong. */
export class ChainCheck {
  readonly faults: ChainFault[] = [];
  readonly #head: ChainHead;
  readonly #known: ReadonlyMap<number, string>;
  #last: { readonly seq: number; readonly hash: string; readonly file: string; readonly line: number };
  lines = 0;

  /** `expected`: hashes that were written down elsewhere, by seq. */
  constructor(head: ChainHead, expected: ReadonlyMap<number, string> = new Map()) {
    this.#head = head;
    this.#known = expected;
    this.#last = { seq: head.first.seq - 1, hash: head.first.prev, file: '', line: 0 };
  }

  line(file: string, number: number, text: string): void {
    this.lines++;
    const read = readLine(text);
    if (read === undefined) {
      this.#fault(file, number, this.#last.seq + 1, 'is no entry');
      return;
    }
    const { seq, prev, hash } = read;
    const wanted = this.#last.seq + 1;
    if (seq > wanted) this.#fault(file, number, wanted, `${gone(wanted, seq - 1)} before this line`);
    else if (seq < wanted) this.#fault(file, number, seq, `entry ${seq} is not in its place: ${wanted} was to follow`);
    else if (prev !== this.#last.hash) {
      const { file: before, line } = this.#last;
      if (before === '') this.#fault(file, number, seq, 'does not follow what was kept of the lines before it');
      else this.#fault(before, line, seq - 1, `entry ${seq - 1} was changed: its hash is not what entry ${seq} holds`);
    }
    const noted = this.#known.get(seq);
    if (noted !== undefined && noted !== hash) this.#fault(file, number, seq, `entry ${seq} has not the hash that was written down`);
    // One that was moved says nothing of what follows.
    if (seq >= wanted) this.#last = { seq, hash, file, line: number };
  }

  /** After the last line. `behind`: lines that the writer had no time to put its head on. */
  end(headFile: string): { readonly behind: number; readonly last: { readonly seq: number; readonly hash: string } } {
    const { seq, hash, file, line } = this.#last;
    const { seq: headSeq, hash: headHash } = this.#head;
    if (seq < headSeq) this.#fault(file || headFile, 0, seq + 1, `${gone(seq + 1, headSeq)} from the end`);
    else if (seq === headSeq && hash !== headHash && headSeq > 0)
      this.#fault(file, line, seq, `entry ${seq} was changed: its hash is not what ${headFile} holds`);
    for (const noted of this.#known.keys())
      if (noted > seq || noted < this.#head.first.seq)
        this.#fault(headFile, 0, noted, `entry ${noted}, whose hash was written down, is not there`);
    return { behind: Math.max(0, seq - headSeq), last: { seq, hash } };
  }

  #fault(file: string, line: number, seq: number, problem: string): void {
    if (this.faults.length < FAULTS_MAX) this.faults.push({ file, line, seq, problem });
  }
}

const gone = (from: number, to: number): string => (from === to ? `entry ${from} was removed` : `entries ${from} to ${to} were removed`);
