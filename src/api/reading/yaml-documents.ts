// YAML or JSON text into trees with positions: every document of a multi-document text, each with its own syntax problems, so that
// one broken document hides no other. Refuses duplicate keys, keys that are no text, texts beyond the limits.

import { Composer, type Document, isAlias, isMap, isScalar, isSeq, LineCounter, Parser, type YAMLError, type YAMLMap } from 'yaml';
import { ALIASES_MAX, DOCUMENT_DEPTH_MAX, DOCUMENT_NODES_MAX, FILE_CHARACTERS_MAX, SYNTAX_PROBLEMS_MAX } from '../limits.ts';
import type { Problem, ProblemCode } from '../problem.ts';
import type { DocumentNode, MapEntry } from './document-node.ts';

export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface YamlDocument {
  /** Absent when the document is empty or could not be read; then `problems` says why. */
  readonly root: DocumentNode | undefined;
  readonly problems: readonly Problem[];
  /** The document's place in the text. */
  readonly start: number;
  readonly end: number;
}

export interface YamlText {
  readonly documents: readonly YamlDocument[];
  position(offset: number): Position;
}

export const readYaml = (file: string, text: string): YamlText => {
  if (text.length > FILE_CHARACTERS_MAX) {
    const message = `the text has ${text.length} characters, at most ${FILE_CHARACTERS_MAX} are read`;
    return refusedText(file, 'YAML_LIMIT', message);
  }
  if (UTF16.test(text)) return refusedText(file, 'YAML_SYNTAX', 'the text is UTF-16; save it as UTF-8');
  const lines = new LineCounter();
  const position = (offset: number): Position => {
    const at = lines.linePos(Math.max(0, offset));
    return { line: Math.max(1, at.line), column: Math.max(1, at.col) };
  };
  const composer = new Composer({ lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: 'silent' });
  const documents: YamlDocument[] = [];
  // One at a time: what the library makes of a document is ten times its tree.
  for (const d of composer.compose(new Parser(lines.addNewLine).parse(text))) documents.push(readDocument(file, d, position));
  return { documents, position };
};

/** A byte order mark of UTF-16 read as UTF-8, then a character of ASCII with its zero byte, or nothing. */
const UTF16 = /^\uFFFD\uFFFD(?:$|\0|.\0)/s;

const refusedText = (file: string, code: ProblemCode, message: string): YamlText => {
  const problem: Problem = { code, severity: 'error', file, line: 1, column: 1, path: '', message };
  return { documents: [{ root: undefined, problems: [problem], start: 0, end: 0 }], position: () => ({ line: 1, column: 1 }) };
};

const readDocument = (file: string, document: Document.Parsed, position: (offset: number) => Position): YamlDocument => {
  const problems: Problem[] = [];
  const [start, , end] = document.range;
  const report = (code: ProblemCode, offset: number, message: string, hint?: string): void => {
    problems.push({ code, severity: 'error', file, ...position(offset), path: '', message, ...(hint === undefined ? {} : { hint }) });
  };
  const exhausted = document.errors.find((e) => e.code === 'RESOURCE_EXHAUSTION');
  if (exhausted) report('YAML_SYNTAX', exhausted.pos[0], `values nested deeper than ${DOCUMENT_DEPTH_MAX} levels`);
  for (const error of exhausted ? [] : [...document.errors, ...document.warnings].slice(0, SYNTAX_PROBLEMS_MAX)) {
    report('YAML_SYNTAX', error.pos[0], sentence(error), syntaxHint(error));
  }
  if (problems.length > 0) return { root: undefined, problems, start, end };
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null))
    return { root: undefined, problems, start, end };
  const root = new TreeBuilder(document, report).build(document.contents, 0);
  return { root: problems.length > 0 ? undefined : root, problems, start, end };
};

const sentence = (error: YAMLError): string => error.message.replace(/\s+/g, ' ').trim();

const syntaxHint = (error: YAMLError): string | undefined => {
  switch (error.code) {
    case 'TAB_AS_INDENT':
      return 'YAML is indented with spaces, never with tabs';
    case 'MISSING_CHAR':
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'a bracket, quote or colon may be missing, or the file is only half written';
    case 'BAD_INDENT':
      return error.message.startsWith('Flow') ? 'a bracket may be missing' : 'items of one block start in one column';
    default:
      return undefined;
  }
};

/** Walks one YAML document once. Gives null nodes after the first limit so that the walk ends quickly. */
class TreeBuilder {
  readonly #document: Document.Parsed;
  readonly #report: (code: ProblemCode, offset: number, message: string, hint?: string) => void;
  #nodes = 0;
  #aliases = 0;
  #stopped = false;

  constructor(document: Document.Parsed, report: (code: ProblemCode, offset: number, message: string, hint?: string) => void) {
    this.#document = document;
    this.#report = report;
  }

  build(node: unknown, depth: number): DocumentNode {
    const offset = offsetOf(node);
    if (this.#beyondLimits(offset, depth)) return { kind: 'scalar', value: null, plain: undefined, offset };
    if (isAlias(node)) return this.#alias(offset, () => node.resolve(this.#document), depth);
    if (isMap(node)) return { kind: 'map', entries: this.#entries(node, depth), offset };
    if (isSeq(node)) return { kind: 'list', items: node.items.map((i) => this.build(i, depth + 1)), offset };
    if (!isScalar(node)) return { kind: 'scalar', value: null, plain: undefined, offset };
    const value = node.value;
    const plain = node.type === 'PLAIN' ? node.source : undefined;
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null) {
      return { kind: 'scalar', value, plain, offset };
    }
    this.#report('YAML_SYNTAX', offset, 'a value that is neither text, number, truth value, list nor mapping');
    return { kind: 'scalar', value: null, plain, offset };
  }

  #alias(offset: number, resolve: () => unknown, depth: number): DocumentNode {
    const target = ++this.#aliases > ALIASES_MAX ? undefined : resolve();
    if (target === undefined) {
      const limit = this.#aliases > ALIASES_MAX;
      this.#stop(
        limit ? 'YAML_LIMIT' : 'YAML_SYNTAX',
        offset,
        limit ? `more than ${ALIASES_MAX} aliases` : 'no anchor stands before this alias; text that begins with "*" stands in quotes',
      );
      return { kind: 'scalar', value: null, plain: undefined, offset };
    }
    return { ...this.build(target, depth + 1), offset };
  }

  #entries(map: YAMLMap, depth: number): ReadonlyMap<string, MapEntry> {
    const entries = new Map<string, MapEntry>();
    const merged: DocumentNode[] = [];
    for (const pair of map.items) {
      const key: unknown = pair.key;
      const keyOffset = offsetOf(key);
      const name = isScalar(key) ? keyText(key.value, key.source) : undefined;
      if (name === undefined) {
        this.#report('YAML_SYNTAX', keyOffset, 'a key must be text');
        continue;
      }
      if (name === '<<' && isScalar(key) && key.type === 'PLAIN') {
        merged.push(this.build(pair.value, depth + 1));
        continue;
      }
      if (entries.has(name)) {
        this.#report('YAML_DUPLICATE_KEY', keyOffset, `the key ${JSON.stringify(name)} stands twice in one mapping`, 'keep one of them');
        continue;
      }
      entries.set(name, { keyOffset, node: this.build(pair.value, depth + 1) });
    }
    for (const source of merged.flatMap((m) => (m.kind === 'list' ? m.items : [m]))) {
      if (source.kind !== 'map') this.#report('YAML_SYNTAX', source.offset, 'only a mapping can be merged with "<<"');
      else for (const [name, entry] of source.entries) if (!entries.has(name)) entries.set(name, entry);
    }
    return entries;
  }

  #beyondLimits(offset: number, depth: number): boolean {
    if (this.#stopped) return true;
    if (++this.#nodes > DOCUMENT_NODES_MAX) this.#stop('YAML_LIMIT', offset, `a document of more than ${DOCUMENT_NODES_MAX} values`);
    else if (depth > DOCUMENT_DEPTH_MAX) this.#stop('YAML_LIMIT', offset, `values nested deeper than ${DOCUMENT_DEPTH_MAX} levels`);
    return this.#stopped;
  }

  #stop(code: ProblemCode, offset: number, message: string): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#report(code, offset, message);
  }
}

const keyText = (value: unknown, source: string | undefined): string | undefined => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return source ?? String(value);
  return undefined;
};

const offsetOf = (node: unknown): number => {
  if (typeof node !== 'object' || node === null || !('range' in node)) return 0;
  const range: unknown = node.range;
  return Array.isArray(range) && typeof range[0] === 'number' ? range[0] : 0;
};
