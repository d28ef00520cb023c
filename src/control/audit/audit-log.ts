// The writer of the audit log: entries become lines of a chain (audit-chain.ts) in files of bounded size and number, readable by their owner
// alone. Entries wait for the next turn of the event loop, bounded; a disk that is full, or gone, is counted and logged, what could not be
// written is told by the next entry that can, and nothing else of the control plane stops for it.
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import { type AuditFields, type ChainHead, chainLine, EMPTY_HEAD, hashOf, readLine } from './chain.ts';
import { auditFiles, auditLines, CURRENT_FILE, firstSeqOf, HEAD_FILE, headOf, olderFile } from './chain-files.ts';

export interface AuditLogOptions {
  readonly folder: string;
  readonly metrics: Pick<ControlMetrics, 'count'>;
  readonly log: Log;
  readonly now: () => number;
  readonly fileBytesMax?: number;
  readonly filesMax?: number;
}

const FILE_BYTES_MAX = 16 * 1024 * 1024;
const FILES_MAX = 16;
/** An entry is cut before it is longer than this. */
const LINE_CHARS_MAX = 64 * 1024;
const QUEUE_MAX = 50_000;
/** Entries of one turn of the event loop. */
const SLICE = 200;
/** Times between two words in the process log about a disk that is full. */
const COMPLAINT_MS = 60_000;

/** Made when it is its turn, so that what it says of large objects is not kept waiting. */
export type AuditEntry = () => AuditFields;

export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #queue: { readonly time: string; readonly entry: AuditEntry }[] = [];
  #head: ChainHead;
  #fd: number | undefined;
  #bytes = 0;
  #firstSeq = 0;
  #lost = 0;
  #complainedAtMs = Number.NEGATIVE_INFINITY;
  #scheduled: NodeJS.Immediate | undefined;

  /** Never throws: a folder that cannot be used is as a disk that is full. */
  constructor(options: AuditLogOptions) {
    this.#options = options;
    this.#head = EMPTY_HEAD;
    try {
      mkdirSync(options.folder, { recursive: true, mode: 0o700 });
      const found = recovered(options.folder);
      this.#head = found.head;
      this.#open();
      if (found.problem !== '') {
        options.log.error('the audit log is not whole', { problem: found.problem });
        this.add(() => ({ type: 'broken', problem: found.problem }));
      }
    } catch (error) {
      this.#failed(error, 0);
    }
  }

  add(entry: AuditEntry): void {
    if (this.#queue.length >= QUEUE_MAX) {
      this.#failed(new Error('too many entries wait'), 1);
      return;
    }
    this.#queue.push({ time: new Date(this.#options.now()).toISOString(), entry });
    this.#scheduled ??= setImmediate(() => this.#drain(SLICE));
  }

  /** Everything that waits is written. */
  flush(): void {
    while (this.#queue.length > 0) this.#drain(SLICE);
  }

  close(): void {
    this.flush();
    clearImmediate(this.#scheduled);
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #drain(count: number): void {
    clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    const batch = this.#queue.splice(0, count);
    try {
      this.#write(batch);
    } catch (error) {
      this.#failed(error, batch.length);
    }
    if (this.#queue.length > 0) this.#scheduled = setImmediate(() => this.#drain(SLICE));
  }

  #write(batch: readonly { readonly time: string; readonly entry: AuditEntry }[]): void {
    let { seq, hash } = this.#head;
    const lines: string[] = [];
    const take = (time: string, fields: AuditFields): void => {
      seq++;
      const line = bounded(seq, { time, ...fields }, hash);
      hash = hashOf(line);
      lines.push(line);
    };
    const lost = this.#lost;
    const [first] = batch;
    if (lost > 0 && first) take(first.time, { type: 'lost', count: lost });
    for (const { time, entry } of batch) take(time, entry());
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    this.#makeRoom(bytes.length);
    this.#append(bytes);
    this.#head = { ...this.#head, seq, hash };
    this.#lost = 0;
    this.#saveHead();
  }

  /** All of it or nothing: half a line would break the chain. */
  #append(bytes: Buffer): void {
    const fd = this.#fd ?? this.#open();
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(fd, bytes, at);
    } catch (error) {
      if (at > 0) ftruncateSync(fd, this.#bytes);
      throw error;
    }
    this.#bytes += bytes.length;
    if (this.#firstSeq === 0) this.#firstSeq = this.#head.seq + 1;
  }

  #open(): number {
    const { folder } = this.#options;
    const fd = openSync(join(folder, CURRENT_FILE), 'a', 0o600);
    this.#fd = fd;
    this.#bytes = fstatSync(fd).size;
    const line = this.#bytes === 0 ? undefined : auditLines(folder, CURRENT_FILE)[0];
    this.#firstSeq = line === undefined ? 0 : (readLine(line)?.seq ?? this.#head.seq + 1);
    return fd;
  }

  #makeRoom(bytes: number): void {
    const { folder, fileBytesMax = FILE_BYTES_MAX, filesMax = FILES_MAX } = this.#options;
    if (this.#bytes === 0 || this.#bytes + bytes <= fileBytesMax) return;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    renameSync(join(folder, CURRENT_FILE), join(folder, olderFile(this.#firstSeq)));
    this.#open();
    const older = auditFiles(folder).filter((f) => f !== CURRENT_FILE);
    const dropped = older.slice(0, Math.max(0, older.length - (filesMax - 1)));
    const oldest = older[dropped.length];
    if (dropped.length === 0) return;
    const first = oldest === undefined ? undefined : readLine(auditLines(folder, oldest)[0] ?? '');
    this.#head = {
      ...this.#head,
      first: first === undefined ? { seq: this.#head.seq + 1, prev: this.#head.hash } : { seq: firstSeqOf(oldest ?? ''), prev: first.prev },
    };
    this.#saveHead();
    for (const file of dropped) rmSync(join(folder, file), { force: true });
  }

  #saveHead(): void {
    const path = join(this.#options.folder, HEAD_FILE);
    writeFileSync(`${path}.part`, `${JSON.stringify(this.#head)}\n`, { mode: 0o600 });
    renameSync(`${path}.part`, path);
  }

  #failed(error: unknown, entries: number): void {
    const { metrics, log, now } = this.#options;
    this.#lost += entries;
    metrics.count('skein_audit_entries_lost', {}, entries);
    if (now() - this.#complainedAtMs < COMPLAINT_MS) return;
    this.#complainedAtMs = now();
    log.error('the audit log cannot be written', {
      lost: this.#lost,
      problem: (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : String(error)),
    });
  }
}

const bounded = (seq: number, fields: AuditFields, prev: string): string => {
  const line = chainLine(seq, fields, prev);
  if (line.length <= LINE_CHARS_MAX) return line;
  const { diff: _, ...rest } = fields;
  const short = chainLine(seq, { ...rest, cut: true }, prev);
  if (short.length <= LINE_CHARS_MAX) return short;
  return chainLine(seq, { time: fields['time'], type: fields['type'], cut: true }, prev);
};

/** Where the chain goes on. After the head always, so that what was cut away stays missed; after lines that had no time for a head. */
const recovered = (folder: string): { readonly head: ChainHead; readonly problem: string } => {
  const files = auditFiles(folder);
  const head = headOf(folder);
  if (files.includes(CURRENT_FILE)) dropHalfLine(join(folder, CURRENT_FILE));
  // The head is never further behind than what is written at once, which is in the newest file or the one before.
  const tail = files
    .slice(-2)
    .flatMap((file) => auditLines(folder, file).slice(-QUEUE_MAX))
    .map(readLine);
  const last = tail.at(-1);
  if (head === undefined) {
    if (last === undefined) return { head: EMPTY_HEAD, problem: '' };
    const first = readLine(auditLines(folder, files[0] ?? '')[0] ?? '');
    const kept = first === undefined ? EMPTY_HEAD.first : { seq: first.seq, prev: first.prev };
    return { head: { seq: last.seq, hash: last.hash, first: kept }, problem: `${HEAD_FILE} was not there` };
  }
  let at: { readonly seq: number; readonly hash: string } = head;
  for (const line of tail) if (line !== undefined && line.seq === at.seq + 1 && line.prev === at.hash) at = line;
  const whole = last === undefined ? head.seq === 0 : last.seq === at.seq && last.hash === at.hash;
  return { head: { ...head, seq: at.seq, hash: at.hash }, problem: whole ? '' : 'its end is not what the head says' };
};

/** A process that was killed while it wrote. */
const dropHalfLine = (path: string): void => {
  const bytes = readFileSync(path);
  const end = bytes.lastIndexOf(10) + 1;
  if (end === bytes.length) return;
  const fd = openSync(path, 'r+');
  ftruncateSync(fd, end);
  closeSync(fd);
};
