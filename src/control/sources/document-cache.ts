// Parses watched files document by document and keeps what came of each, so that an edit of one of thousands of documents parses one.
// Kept is what the last text of a file held, by the document's text; where lines have moved, the same objects tell their new place.
import type { Problem } from '../../api/problem.ts';
import { type Origin, type Resource, resourceKey } from '../../api/resource.ts';
import type { ParseText } from './source.ts';

type Parsed = ReturnType<ParseText>;

interface Kept {
  /** As if the document were the whole file. */
  readonly parsed: Parsed;
  /** What was given out last, and the number of lines before it. */
  placed: { readonly lines: number; readonly parsed: Parsed };
}

export class DocumentCache {
  readonly #parse: ParseText;
  readonly #files = new Map<string, ReadonlyMap<string, Kept>>();

  constructor(parse: ParseText) {
    this.#parse = parse;
  }

  /** Gives way after each document that is new, for callers with other things to do. */
  *parsing(file: string, text: string): Generator<void, Parsed> {
    const pieces = piecesOf(text);
    if (pieces.length < 2) {
      this.#files.delete(file);
      return this.#parse(file, text);
    }
    const before = this.#files.get(file);
    const now = new Map<string, Kept>();
    const found: Parsed[] = [];
    for (const { start, end, lines } of pieces) {
      const own = text.slice(start, end);
      const known = now.get(own) ?? before?.get(own);
      const kept = known ?? this.#first(file, own);
      if (known === undefined) yield;
      if (kept.placed.lines !== lines) kept.placed = { lines, parsed: moved(kept.parsed, lines) };
      now.set(own, kept);
      found.push(kept.placed.parsed);
    }
    this.#files.set(file, now);
    return joined(file, found);
  }

  drop(file: string): void {
    this.#files.delete(file);
  }

  #first(file: string, text: string): Kept {
    // A slice, which objects keep for their positions, would keep the whole text that it was cut from.
    const parsed = this.#parse(file, copyOf(text));
    return { parsed, placed: { lines: 0, parsed } };
  }
}

const copyOf = (text: string): string => Buffer.from(text, 'utf8').toString('utf8');

interface Piece {
  readonly start: number;
  readonly end: number;
  /** Before it. */
  readonly lines: number;
}

/** Directives and document ends speak of neighbours: texts with such are one piece. */
const UNDIVIDED = /^(?:%|\.\.\.(?:\s|$))/m;
const MARKER = /^---(?=\s|$)/gm;

/** YAML lets a line begin with `---` and a blank only between documents. */
const piecesOf = (text: string): readonly Piece[] => {
  if (UNDIVIDED.test(text) || text.includes('\r\r') || /\r(?!\n)/.test(text)) return [{ start: 0, end: text.length, lines: 0 }];
  const pieces: Piece[] = [];
  let start = 0;
  let lines = 0;
  const cut = (end: number): void => {
    if (end === start) return;
    pieces.push({ start, end, lines });
    for (let at = text.indexOf('\n', start); at !== -1 && at < end; at = text.indexOf('\n', at + 1)) lines++;
    start = end;
  };
  for (const { index } of text.matchAll(MARKER)) cut(index);
  cut(text.length);
  return pieces;
};

const moved = ({ resources, problems }: Parsed, lines: number): Parsed => ({
  resources: resources.map((r) => ({ ...r, origin: movedOrigin(r.origin, lines) })),
  problems: problems.map((p) => ({ ...p, line: p.line + lines })),
});

const movedOrigin = (origin: Origin, lines: number): Origin => ({
  file: origin.file,
  line: origin.line + lines,
  at: (path) => {
    const { line, column } = origin.at(path);
    return { line: line + lines, column };
  },
});

/** What only all documents together show: one object written twice. */
const joined = (file: string, found: readonly Parsed[]): Parsed => {
  const resources: Resource[] = [];
  const problems: Problem[] = found.flatMap((f) => f.problems);
  const seen = new Map<string, number>();
  for (const resource of found.flatMap((f) => f.resources)) {
    const key = resourceKey(resource);
    const line = seen.get(key);
    if (line === undefined) {
      seen.set(key, resource.origin.line);
      resources.push(resource);
      continue;
    }
    const path = 'metadata.name';
    const message = `${resource.kind} ${resource.namespace}/${resource.name} is written twice`;
    const hint = `first in line ${line}`;
    problems.push({ code: 'DUPLICATE_OBJECT', severity: 'error', file, ...resource.origin.at(path), path, message, hint });
  }
  return { resources, problems: problems.sort((a, b) => a.line - b.line || a.column - b.column) };
};
