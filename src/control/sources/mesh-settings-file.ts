// The mesh-wide settings: Istio's MeshConfig from a file that is watched, or the defaults. A text with an error keeps the
// last good settings; at start there is none, so the process refuses to start.
import { readFileSync } from 'node:fs';
import { fromEnvironment } from '../../api/mesh-config/provider-environment.ts';
import { formatProblem, hasErrors, type Problem } from '../../api/problem.ts';
import { textOf } from '../../api/reading/document-bytes.ts';
import { err } from '../../base/result.ts';
import type { MeshSettings } from '../model.ts';
import type { Pipeline } from '../pipeline.ts';

/** The file does not say anything that can be used; `message` holds every problem, one a line. */
export class MeshSettingsError extends Error {}

const POLL_MS = 500;

export class MeshSettingsFile {
  readonly #file: string | undefined;
  readonly #pipeline: Pipeline;
  #text = '';
  #settings: MeshSettings;
  #timer: NodeJS.Timeout | undefined;

  /** Throws MeshSettingsError. */
  constructor(file: string | undefined, pipeline: Pipeline) {
    this.#file = file;
    this.#pipeline = pipeline;
    const read = this.#read();
    if (!read.ok) throw new MeshSettingsError(read.problems.map(formatProblem).join('\n'));
    this.#settings = read.settings;
  }

  get current(): MeshSettings {
    return this.#settings;
  }

  start(changed: () => void): void {
    if (this.#file === undefined) return;
    this.#timer = setInterval(() => {
      const before = this.#text;
      const read = this.#read();
      if (this.#text === before) return;
      this.#settings = read.ok ? read.settings : { config: this.#settings.config, problems: read.problems };
      changed();
    }, POLL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #read(): { readonly ok: true; readonly settings: MeshSettings } | { readonly ok: false; readonly problems: readonly Problem[] } {
    const file = this.#file ?? '';
    try {
      const read = textOf(file, this.#file === undefined ? new Uint8Array() : readFileSync(this.#file));
      if (!read.ok) {
        const again = this.#text === `unreadable: ${formatProblem(read.error)}`;
        this.#text = `unreadable: ${formatProblem(read.error)}`;
        return { ok: false, problems: again ? [] : [read.error] };
      }
      this.#text = read.value;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (this.#text === `unreadable: ${code}`) return { ok: false, problems: [] };
      this.#text = `unreadable: ${code}`;
      const message = `the file cannot be read: ${code}`;
      return { ok: false, problems: [{ code: 'FILE_UNREADABLE', severity: 'error', file, line: 1, column: 1, path: '', message }] };
    }
    const parsed = this.#parse(file);
    if (!parsed.ok || hasErrors(parsed.value.problems)) return { ok: false, problems: parsed.ok ? parsed.value.problems : parsed.error };
    const { config, missing } = fromEnvironment(parsed.value.config, process.env);
    const unset = missing.map((name): Problem => {
      const message = `environment variable ${name} is not set here: a header of a provider is sent empty`;
      const hint = 'start the control plane with it';
      return { code: 'ENVIRONMENT_UNSET', severity: 'warning', file, line: 1, column: 1, path: 'extensionProviders', message, hint };
    });
    return { ok: true, settings: { config, problems: [...parsed.value.problems, ...unset] } };
  }

  /** A defect of the parser is a problem of the file, and does not end the process. */
  #parse(file: string): ReturnType<Pipeline['parseMeshConfig']> {
    try {
      return this.#pipeline.parseMeshConfig(file, this.#text);
    } catch (error) {
      const message = `the file could not be parsed: ${error instanceof Error ? error.message : String(error)}`;
      return err([{ code: 'INTERNAL', severity: 'error', file, line: 1, column: 1, path: '', message, hint: 'this is a defect of Skein' }]);
    }
  }
}
