// The last good text of every watched file that is refused now, in the state folder: a broken save and a restart together
// do not take its objects from the mesh. Files that are good are not kept here: their text is on disk.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import { removeStateFile, writeStateFile } from '../state-file.ts';

export class LastGoodTexts {
  readonly #folder: string;
  readonly #log: Log;

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  read(file: string): string | undefined {
    try {
      const kept = JSON.parse(readFileSync(this.#path(file), 'utf8')) as { readonly file?: unknown; readonly text?: unknown };
      return kept.file === file && typeof kept.text === 'string' ? kept.text : undefined;
    } catch {
      return undefined; // none, or damaged: the same to the caller
    }
  }

  keep(file: string, text: string): void {
    this.#try(() => writeStateFile(this.#path(file), JSON.stringify({ file, text })));
  }

  drop(file: string): void {
    this.#try(() => removeStateFile(this.#path(file)));
  }

  #path(file: string): string {
    return join(this.#folder, `${createHash('sha256').update(file).digest('base64url').slice(0, 24)}.json`);
  }

  /** The mesh runs without it; only a restart would miss it. */
  #try(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#log.warning('the last good text of a file is not kept', { problem: (error as NodeJS.ErrnoException).code ?? String(error) });
    }
  }
}
