// A watched folder of YAML and JSON. A save is one file: if its text has any error, nothing of it applies and the objects of the
// last good text stay in force. Editors' ways of saving are survived: a file that is gone or empty for a moment is
// waited for, and a file is read only once it has been still. Notifications make it fast, polling makes it sure.
import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { FILE_BYTES_MAX } from '../../api/limits.ts';
import { hasErrors, type Problem } from '../../api/problem.ts';
import { textOf, tooLarge } from '../../api/reading/document-bytes.ts';
import type { Resource } from '../../api/resource.ts';
import { DocumentCache } from './document-cache.ts';
import { type ScannedFile, scanFile, scanFolder } from './folder-scan.ts';
import type { ParseText, Source, SourceFile, SourceState } from './source.ts';

interface Held {
  readonly stamp: string;
  readonly text: string | undefined;
  /** The text that `resources` came from. */
  readonly good: string | undefined;
  /** Of the last good text. */
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
  readonly refused: boolean;
}

export interface FolderSourceOptions {
  readonly folder: string;
  readonly parse: ParseText;
  readonly pollMs?: number;
  /** Good texts of refused files, over restarts; without it a refused file has no objects after a restart. */
  readonly lastGood?: LastGood;
}

export interface LastGood {
  read(file: string): string | undefined;
  keep(file: string, text: string): void;
  drop(file: string): void;
}

const POLL_MS = 500;
/** A scan of a huge folder may take one part in so many of the time: of one that tells what changes, and of one that does not. */
const SCAN_SHARE = 200;
const BLIND_SCAN_SHARE = 20;
/** Others get their turn while thousands of documents are read. */
const SLICE_MS = 20;
/** From the first notification to the scan. */
const SETTLE_MS = 25;
/** Editors that move the old file away, or truncate before they write, are done long before. */
const ABSENCE_MS = 150;

export class FolderSource implements Source {
  readonly kind = 'folder';
  readonly #options: FolderSourceOptions;
  readonly #documents: DocumentCache;
  readonly #held = new Map<string, Held>();
  readonly #missingSince = new Map<string, number>();
  #folderProblem: string | undefined;
  #dirty = false;
  #state: SourceState = { resources: [], problems: [], files: [] };
  #changed: (() => void) | undefined;
  readonly #watchers = new Map<string, FSWatcher>();
  #settle: NodeJS.Timeout | undefined;
  /** Files that are known and were said to have changed; undefined when something else has. */
  #hints: Set<string> | undefined = new Set();
  #poll: NodeJS.Timeout | undefined;
  #closed = false;
  /** Files are being read. */
  #busy = false;
  /** Something has changed meanwhile. */
  #again = false;

  constructor(options: FolderSourceOptions) {
    this.#options = options;
    this.#documents = new DocumentCache(options.parse);
  }

  get state(): SourceState {
    return this.#state;
  }

  start(changed: () => void): void {
    this.#scan(true);
    this.#changed = changed;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#settle);
    clearTimeout(this.#poll);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** `path` is what has changed, where that is known. */
  #soon(path?: string): void {
    if (this.#closed) return;
    if (path !== undefined && this.#held.has(path)) this.#hints?.add(path);
    else this.#hints = undefined;
    this.#settle ??= setTimeout(() => {
      this.#settle = undefined;
      const hints = this.#hints;
      this.#hints = new Set();
      this.#look(hints);
    }, SETTLE_MS);
  }

  /** At known files alone: a folder of thousands is read through only when something appears or goes. */
  #look(paths: ReadonlySet<string> | undefined): void {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    const files = [...(paths ?? [])].map(scanFile);
    if (paths === undefined || !files.every((f) => f !== undefined)) {
      this.#scan(false);
      return;
    }
    this.#run(this.#takeChanged(files, Date.now(), false), (waiting) => {
      if (!waiting) this.#publish(false);
      else for (const path of paths) this.#soon(path);
    });
  }

  /** To the end where it is short, else in slices. */
  #run(work: Generator<void, boolean>, done: (waiting: boolean) => void): void {
    this.#busy = true;
    const step = (): void => {
      if (this.#closed) return;
      const until = this.#changed ? performance.now() + SLICE_MS : Number.POSITIVE_INFINITY;
      for (;;) {
        const next = work.next();
        if (next.done === true) {
          this.#busy = false;
          done(next.value);
          if (this.#again) this.#soon();
          this.#again = false;
          return;
        }
        if (performance.now() > until) break;
      }
      setImmediate(step);
    };
    step();
  }

  #scan(first: boolean): void {
    if (this.#closed) return;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#poll);
    const startedAtMs = performance.now();
    const scan = scanFolder(this.#options.folder);
    const share = this.#watch(scan.folders) ? SCAN_SHARE : BLIND_SCAN_SHARE;
    const pollMs = Math.max(this.#options.pollMs ?? POLL_MS, (performance.now() - startedAtMs) * share);
    // A folder that cannot be read keeps what it gave: serving on beats serving nothing.
    const problemChanged = this.#folderProblem !== scan.problem;
    this.#folderProblem = scan.problem;
    const nowMs = Date.now();
    const work = scan.problem === undefined ? this.#takeFiles(scan.files, nowMs, first) : this.#takeChanged([], nowMs, first);
    this.#run(work, (waiting) => {
      if (waiting) this.#soon();
      else this.#publish(problemChanged);
      this.#poll = setTimeout(() => this.#scan(false), pollMs);
      this.#poll.unref();
    });
  }

  /** True when something is in the middle of a save: nothing is published then, so a moved file is one change. */
  *#takeFiles(files: ReadonlyMap<string, ScannedFile>, nowMs: number, first: boolean): Generator<void, boolean> {
    let waiting = false;
    for (const path of this.#held.keys()) {
      if (files.has(path)) {
        this.#missingSince.delete(path);
        continue;
      }
      const since = this.#missingSince.get(path) ?? nowMs;
      this.#missingSince.set(path, since);
      if (nowMs - since < ABSENCE_MS) {
        waiting = true;
        continue;
      }
      this.#missingSince.delete(path);
      this.#held.delete(path);
      this.#documents.drop(path);
      this.#options.lastGood?.drop(path);
      this.#dirty = true;
    }
    return (yield* this.#takeChanged(files.values(), nowMs, first)) || waiting;
  }

  /** True when one is being written. */
  *#takeChanged(files: Iterable<ScannedFile>, nowMs: number, first: boolean): Generator<void, boolean> {
    let waiting = false;
    for (const file of files) {
      const held = this.#held.get(file.path);
      if (held?.stamp === file.stamp) continue;
      const ageMs = nowMs - file.changedAtMs;
      const still = first || ageMs < 0 || ageMs >= (file.bytes === 0 ? ABSENCE_MS : SETTLE_MS);
      if (!still) waiting = true;
      else {
        yield* this.#take(file, held);
        yield;
      }
    }
    return waiting;
  }

  *#take(file: ScannedFile, held: Held | undefined): Generator<void, void> {
    const next = yield* this.#read(file, held, held ?? (yield* this.#restored(file.path)));
    if (next === undefined) {
      if (held) this.#held.set(file.path, { ...held, stamp: file.stamp });
      return;
    }
    if (!next.refused) this.#options.lastGood?.drop(file.path);
    else if (next.good !== undefined && !held?.refused) this.#options.lastGood?.keep(file.path, next.good);
    this.#held.set(file.path, next);
    this.#dirty = true;
  }

  /** What the process before held of a file that it had to refuse. */
  *#restored(path: string): Generator<void, Pick<Held, 'good' | 'resources'> | undefined> {
    const good = this.#options.lastGood?.read(path);
    if (good === undefined) return undefined;
    const { resources, problems } = yield* this.#parse(path, good);
    return hasErrors(problems) ? undefined : { good, resources };
  }

  /** Undefined when the text is what it was. */
  *#read(file: ScannedFile, held: Held | undefined, last: Pick<Held, 'good' | 'resources'> | undefined): Generator<void, Held | undefined> {
    const { good, resources: before = [] } = last ?? { good: undefined };
    const refuse = (problem: Problem): Held => ({
      stamp: file.stamp,
      text: undefined,
      good,
      resources: before,
      problems: [problem],
      refused: true,
    });
    if (file.bytes > FILE_BYTES_MAX) return refuse(tooLarge(file.path));
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(file.path);
    } catch (error) {
      const message = `the file cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
      return refuse({ code: 'FILE_UNREADABLE', severity: 'error', file: file.path, line: 1, column: 1, path: '', message });
    }
    const read = textOf(file.path, bytes);
    if (!read.ok) return refuse(read.error);
    const text = read.value;
    if (held?.text === text) return undefined;
    const { resources, problems } = yield* this.#parse(file.path, text);
    const refused = hasErrors(problems);
    return { stamp: file.stamp, text, good: refused ? good : text, resources: refused ? before : resources, problems, refused };
  }

  /** A defect of the parser refuses the file, and does not end the process. */
  *#parse(path: string, text: string): Generator<void, ReturnType<ParseText>> {
    try {
      return yield* this.#documents.parsing(path, text);
    } catch (error) {
      const message = `the file could not be parsed: ${error instanceof Error ? error.message : String(error)}`;
      const hint = 'this is a defect of Skein';
      return {
        resources: [],
        problems: [{ code: 'INTERNAL', severity: 'error', file: path, line: 1, column: 1, path: '', message, hint }],
      };
    }
  }

  #publish(force: boolean): void {
    if (!this.#dirty && !force) return;
    this.#dirty = false;
    const held = [...this.#held].sort(([a], [b]) => (a < b ? -1 : 1));
    const files = held.map(([path, h]): SourceFile => ({ path, state: h.refused ? 'refused' : 'applied', objects: h.resources.length }));
    const problems = held.flatMap(([, h]) => h.problems);
    this.#state = { resources: held.flatMap(([, h]) => h.resources), problems: [...this.#ownProblems(), ...problems], files };
    this.#changed?.();
  }

  #ownProblems(): Problem[] {
    if (this.#folderProblem === undefined) return [];
    const { folder } = this.#options;
    return [{ code: 'FOLDER_UNREADABLE', severity: 'error', file: folder, line: 1, column: 1, path: '', message: this.#folderProblem }];
  }

  /**
   * One watcher per folder: recursive watching differs between runtimes and kernels. Where watching fails, polling does it; then it is
   * false.
   */
  #watch(folders: readonly string[]): boolean {
    const wanted = new Set(folders);
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of folders) {
      if (this.#watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, (_, name) => {
          // Hidden ones are not looked at: editors write them beside the file.
          if (name?.startsWith('.') !== true) this.#soon(name === null ? undefined : join(folder, name));
        });
        const drop = (): void => {
          watcher.close();
          if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder);
        };
        watcher.on('error', drop);
        this.#watchers.set(folder, watcher);
      } catch {
        return false;
      }
    }
    return true;
  }
}
