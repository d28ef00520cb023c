// The watched folder: all its YAML together is one configuration. What cannot be read as a whole changes nothing: the last good one
// goes on, and the problems are told. Looked at every second, so that every kind of volume and every way of replacing a file works.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ConfigProblem, type DomainConfig, parseConfig } from './config-document.ts';

const LOOK_EVERY_MS = 1000;
const FILES_MAX = 1000;
const FILE_BYTES_MAX = 4 * 1024 * 1024;
const FOLDERS_DEEP = 4;

export type Domains = ReadonlyMap<string, DomainConfig>;

export interface ConfigEvents {
  /** A configuration without problems is in force. */
  changed(domains: Domains): void;
  /** What was found in its place. */
  refused(problems: readonly ConfigProblem[]): void;
}

export class ConfigFolder {
  readonly #root: string;
  readonly #events: ConfigEvents;
  readonly #timer: NodeJS.Timeout;
  #seen = '';
  #domains: Domains = new Map();

  /** Reads it at once. */
  constructor(root: string, events: ConfigEvents, lookEveryMs = LOOK_EVERY_MS) {
    this.#root = root;
    this.#events = events;
    this.look();
    this.#timer = setInterval(() => this.look(), lookEveryMs);
    this.#timer.unref();
  }

  get domains(): Domains {
    return this.#domains;
  }

  look(): void {
    const files: string[] = [];
    let seen = '';
    try {
      collect(this.#root, 0, files);
      for (const file of files) {
        const { mtimeMs, size, ino } = statSync(file);
        seen += `${file}\n${mtimeMs} ${size} ${ino}\n`;
      }
    } catch (problem) {
      // A folder that is being replaced is whole again at the next look.
      seen = `unreadable: ${(problem as NodeJS.ErrnoException).code}`;
    }
    if (seen === this.#seen) return;
    this.#seen = seen;
    const { domains, problems } = readAll(this.#root, files, seen.startsWith('unreadable'));
    if (problems.length > 0) {
      this.#events.refused(problems);
      return;
    }
    this.#domains = domains;
    this.#events.changed(domains);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

const collect = (folder: string, depth: number, to: string[]): void => {
  for (const entry of readdirSync(folder).sort()) {
    if (entry.startsWith('.')) continue;
    const path = join(folder, entry);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true && depth < FOLDERS_DEEP) collect(path, depth + 1, to);
    else if (stat?.isFile() === true && /\.ya?ml$/.test(entry)) to.push(path);
  }
};

const readAll = (
  root: string,
  files: readonly string[],
  unreadable: boolean,
): { readonly domains: Domains; readonly problems: readonly ConfigProblem[] } => {
  const domains = new Map<string, DomainConfig>();
  const problems: ConfigProblem[] = [];
  const say = (file: string, message: string, line = 1): void => void problems.push({ file, line, column: 1, message });
  if (unreadable) say(root, 'cannot be read');
  if (files.length > FILES_MAX) say(root, `holds more than ${FILES_MAX} files`);
  else
    for (const file of files) {
      const text = read(file);
      if (text === undefined) {
        say(file, `cannot be read, or is larger than ${FILE_BYTES_MAX} bytes`);
        continue;
      }
      const parsed = parseConfig(file, text);
      problems.push(...parsed.problems);
      for (const domain of parsed.domains) {
        const other = domains.get(domain.domain);
        if (other === undefined) domains.set(domain.domain, domain);
        else say(file, `domain "${domain.domain}" is configured in ${other.file}:${other.line} already`, domain.line);
      }
    }
  return { domains, problems };
};

const read = (file: string): string | undefined => {
  try {
    return statSync(file).size > FILE_BYTES_MAX ? undefined : readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
};
