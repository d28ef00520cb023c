// Recorded configuration of a real istiod: one JSON object per line in every `.jsonl` file of a folder whose records have that shape.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';

export interface RecordedConfig {
  /** The file it stands in. */
  readonly file: string;
  readonly name: string;
  readonly description: string;
  readonly yaml: string;
  readonly meshConfig: Readonly<Record<string, unknown>>;
  /** Switches of that control plane's process. */
  readonly env: Readonly<Record<string, string>>;
  /** Absent where only validation was recorded. */
  readonly node: Readonly<Record<string, unknown>> | undefined;
  /** Why the configuration is refused. */
  readonly rejected: string | undefined;
  readonly clusters: readonly unknown[];
  readonly endpoints: readonly unknown[];
  readonly listeners: readonly unknown[];
  readonly routes: readonly unknown[];
  readonly extensions: readonly unknown[];
}

/** `place` is a folder or one file. Of a folder without records nothing. */
export const loadRecordedConfigs = (place: string): readonly RecordedConfig[] =>
  (statSync(place).isFile()
    ? [place]
    : readdirSync(place)
        .sort()
        .map((f) => join(place, f))
  )
    .filter((path) => path.endsWith('.jsonl'))
    .flatMap((path) =>
      readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(isConfig)
        .map((raw) => toRecord(basename(path), raw)),
    );

/** Recorded behaviour stands in files of the same folder: it has requests instead of an answer. */
const isConfig = (raw: Readonly<Record<string, unknown>>): boolean => typeof raw['yaml'] === 'string' && raw['vectors'] === undefined;

const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
const object = (v: unknown): Readonly<Record<string, unknown>> =>
  typeof v === 'object' && v !== null ? (v as Record<string, unknown>) : {};

const toRecord = (file: string, raw: Readonly<Record<string, unknown>>): RecordedConfig => ({
  file,
  name: String(raw['name']),
  description: String(raw['description'] ?? ''),
  yaml: String(raw['yaml'] ?? ''),
  meshConfig: object(raw['meshConfig']),
  env: object(raw['env']) as Readonly<Record<string, string>>,
  node: raw['node'] === undefined ? undefined : object(raw['node']),
  rejected: raw['rejected'] === undefined ? undefined : String(raw['rejected']),
  clusters: list(raw['clusters']),
  endpoints: list(raw['endpoints']),
  listeners: list(raw['listeners']),
  routes: list(raw['routes']),
  extensions: list(raw['extensions']),
});
