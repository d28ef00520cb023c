// What the mesh is now: sources, replicas and mesh-wide settings made into one snapshot, numbered by generation. A change is
// followed by a short quiet, so that a burst is one generation. Everything that is wrong is kept beside the snapshot,
// never instead of it: the last good state serves on.
import { performance } from 'node:perf_hooks';
import type { MeshConfig } from '../api/mesh-config/mesh-config.ts';
import type { Problem } from '../api/problem.ts';
import { ofKind, type Resource, resourceKey } from '../api/resource.ts';
import type { Log } from '../base/log.ts';
import { Memo } from '../base/memo.ts';
import type { Instance } from '../mesh/instance.ts';
import { type KeySets, NO_KEY_SETS } from '../mesh/key-sets.ts';
import { keySources } from '../mesh/request-authentication.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { EventHub } from './admin/event-hub.ts';
import type { Pipeline } from './pipeline.ts';
import type { InstanceRegistry } from './registration/instance-registry.ts';
import type { KeySetStore } from './sources/key-set-store.ts';
import type { Source, SourceFile } from './sources/source.ts';
import { SettledResources } from './xds/settled-resources.ts';

export interface Generation {
  readonly number: number;
  readonly madeAtMs: number;
  readonly snapshot: Snapshot;
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
}

/** Mesh-wide settings, which may change while the process runs. */
export interface MeshSettings {
  readonly config: MeshConfig;
  readonly problems: readonly Problem[];
}

export interface ModelOptions {
  readonly pipeline: Pipeline;
  /** In order of precedence: of one object in two sources the first source's is in force. */
  readonly sources: readonly Source[];
  readonly instances: InstanceRegistry;
  readonly settings: () => MeshSettings;
  /** Fetches what token rules are checked with; nothing is fetched when absent. */
  readonly keySets?: Pick<KeySetStore, 'want'>;
  /** PEM; the same object until another root is trusted. */
  readonly trustAnchors?: () => readonly string[];
  readonly events: EventHub;
  readonly log: Log;
  readonly now: () => number;
  readonly debounce: { readonly quietMs: number; readonly maxMs: number };
  /** Where the numbers go on after a restart. */
  readonly numbering: Numbering;
}

export interface Numbering {
  /** Of the last generation of the process before; 0 when there was none. */
  readonly last: number;
  /** Must not throw. */
  save(number: number): void;
}

export class Model {
  readonly #options: ModelOptions;
  readonly #listeners = new Set<(generation: Generation) => void>();
  #current: Generation | undefined;
  #input: Input | undefined;
  #problems: readonly Problem[] = [];
  /** From one snapshot to the next. */
  readonly #memo = new Memo();
  readonly #settled = new SettledResources();
  #timer: NodeJS.Timeout | undefined;
  #dirtySinceMs: number | undefined;

  constructor(options: ModelOptions) {
    this.#options = options;
  }

  /** Undefined before `start`, and while no snapshot could be built since: proxies then keep what they have. */
  get current(): Generation | undefined {
    return this.#current;
  }

  get problems(): readonly Problem[] {
    return this.#problems;
  }

  get files(): readonly SourceFile[] {
    return this.#options.sources.flatMap((source) => source.state.files);
  }

  /** Called after every new generation. Returns how to stop. */
  subscribe(listener: (generation: Generation) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    for (const source of this.#options.sources) source.start(() => this.invalidate());
    this.#options.instances.onChange(() => this.invalidate());
    this.rebuild();
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const source of this.#options.sources) source.close();
  }

  /** Something has changed: a new generation follows after the quiet, or at the latest after the maximum. */
  invalidate(): void {
    const now = this.#options.now();
    this.#dirtySinceMs ??= now;
    const { quietMs, maxMs } = this.#options.debounce;
    const waitMs = Math.max(0, Math.min(quietMs, this.#dirtySinceMs + maxMs - now));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.rebuild(), waitMs);
  }

  /** Now, for callers that answer with the generation: undefined when none could be built yet. Never throws. */
  rebuild(): Generation | undefined {
    clearTimeout(this.#timer);
    this.#dirtySinceMs = undefined;
    const { instances, settings, now, events, numbering, log } = this.#options;
    const { config, problems: settingsProblems } = settings();
    const startedAtMs = performance.now();
    const merged = mergeSources(this.#options.sources);
    const resources = this.#settled.settle(merged.resources);
    const before = this.#current;
    const keySets = this.#options.keySets?.want(keySources(ofKind(resources, 'RequestAuthentication'))) ?? NO_KEY_SETS;
    const trustAnchors = this.#options.trustAnchors?.() ?? NO_ANCHORS;
    const input: Input = { resources, instances: instances.list(), config, keySets, trustAnchors };
    const built = this.#build(input);
    const sourceProblems = this.#options.sources.flatMap((source) => source.state.problems);
    const problems = distinct([...settingsProblems, ...sourceProblems, ...merged.problems, ...built.problems]);
    this.#announce(this.#problems, problems);
    this.#problems = problems;
    const last = this.#input;
    this.#input = input;
    if (before && (!built.snapshot || (last && sameInput(last, input)))) {
      // Only what is said about it has changed, as after a save that was refused: the mesh stays as it is, its number too.
      this.#current = { ...before, problems };
      return this.#current;
    }
    if (!built.snapshot) return undefined;
    const generation: Generation = {
      number: (before?.number ?? numbering.last) + 1,
      madeAtMs: now(),
      snapshot: built.snapshot,
      resources,
      problems,
    };
    this.#current = generation;
    log.debug('a generation is made', { generation: generation.number, tookMs: Math.round(performance.now() - startedAtMs) });
    events.publish({ type: 'generation', generation: generation.number, problems: problems.length });
    for (const listener of [...this.#listeners]) listener(generation);
    numbering.save(generation.number);
    return generation;
  }

  #build(input: Input): { readonly snapshot: Snapshot | undefined; readonly problems: readonly Problem[] } {
    const { pipeline, log } = this.#options;
    try {
      const { resources, instances, config: meshConfig, keySets, trustAnchors } = input;
      return pipeline.buildSnapshot({
        resources: [...resources],
        instances: [...instances],
        meshConfig,
        keySets,
        trustAnchors,
        memo: this.#memo,
      });
    } catch (error) {
      log.error('the last snapshot serves on: a new one could not be built', {
        problem: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
      return { snapshot: undefined, problems: [internalProblem(error, '')] };
    }
  }

  /** What would be wrong if `added` were applied, `check`'s words of the mesh that it would make included. Changes nothing. */
  trial(added: readonly Resource[], check: (snapshot: Snapshot) => readonly Problem[] = () => []): readonly Problem[] {
    const replaced = new Set(added.map(resourceKey));
    const rest = mergeSources(this.#options.sources).resources.filter((r) => !replaced.has(resourceKey(r)));
    const { pipeline, instances, settings } = this.#options;
    const keySets = this.#input?.keySets ?? NO_KEY_SETS;
    const input = { resources: [...rest, ...added], instances: [...instances.list()], meshConfig: settings().config, keySets };
    try {
      const { snapshot, problems } = pipeline.buildSnapshot(input);
      return [...problems, ...check(snapshot)];
    } catch (error) {
      return [internalProblem(error, added[0]?.origin.file ?? '')];
    }
  }

  #announce(before: readonly Problem[], after: readonly Problem[]): void {
    const known = new Set(before.map(problemKey));
    for (const p of after) {
      if (known.has(problemKey(p))) continue;
      const { file, line, column, code, severity, message } = p;
      this.#options.log.warning(message, { file, line, column, code });
      this.#options.events.publish({ type: 'problem', file, line, column, code, severity, message });
    }
  }
}

interface Input {
  readonly resources: readonly Resource[];
  readonly instances: readonly Instance[];
  readonly config: MeshConfig;
  readonly keySets: KeySets;
  readonly trustAnchors: readonly string[];
}

const NO_ANCHORS: readonly string[] = [];

const sameInput = (a: Input, b: Input): boolean =>
  a.config === b.config &&
  a.keySets === b.keySets &&
  a.trustAnchors === b.trustAnchors &&
  sameItems(a.resources, b.resources) &&
  sameItems(a.instances, b.instances);

const sameItems = <T>(a: readonly T[], b: readonly T[]): boolean => a.length === b.length && a.every((item, i) => item === b[i]);

const problemKey = (p: Problem): string => JSON.stringify([p.file, p.line, p.column, p.code, p.path, p.message]);

const distinct = (problems: readonly Problem[]): readonly Problem[] => [...new Map(problems.map((p) => [problemKey(p), p])).values()];

const internalProblem = (error: unknown, file: string): Problem => ({
  code: 'INTERNAL',
  severity: 'error',
  file,
  line: 0,
  column: 0,
  path: '',
  message: `the configuration could not be compiled: ${error instanceof Error ? error.message : String(error)}`,
  hint: 'this is a defect of Skein; the mesh runs on the last configuration',
});

/** One object per key: the first one, sources in order of precedence and files in order of path. */
const mergeSources = (sources: readonly Source[]): { readonly resources: readonly Resource[]; readonly problems: readonly Problem[] } => {
  const chosen = new Map<string, { readonly resource: Resource; readonly source: Source }>();
  const problems: Problem[] = [];
  for (const source of sources) {
    for (const resource of source.state.resources) {
      const key = resourceKey(resource);
      const first = chosen.get(key);
      if (!first) chosen.set(key, { resource, source });
      else problems.push(duplicateProblem(resource, source, first.resource, first.source));
    }
  }
  return { resources: [...chosen.values()].map(({ resource }) => resource), problems };
};

const duplicateProblem = (resource: Resource, source: Source, first: Resource, firstSource: Source): Problem => {
  const name = `${resource.kind} ${resource.namespace === '' ? '' : `${resource.namespace}/`}${resource.name}`;
  const where = { file: resource.origin.file, ...resource.origin.at('metadata.name'), path: 'metadata.name' };
  const other = `${first.origin.file}:${first.origin.line}`;
  return source === firstSource
    ? { ...where, code: 'DUPLICATE_OBJECT', severity: 'error', message: `${name} is also written at ${other}, which is in force` }
    : {
        ...where,
        code: 'SHADOWED_BY_FILE',
        severity: 'warning',
        message: `the applied ${name} has no effect: the watched file ${other} holds the same object`,
        hint: 'delete one of the two',
      };
};
