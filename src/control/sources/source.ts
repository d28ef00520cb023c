// Where configuration objects come from. Contract, held by one test suite over every implementation: `state` is always
// whole and usable; a change becomes visible at once or not at all; an object text with an error never replaces a good
// one; `changed` is called after `state` has changed, never before `start` has returned.
import type { Problem } from '../../api/problem.ts';
import type { Resource } from '../../api/resource.ts';

export interface SourceFile {
  readonly path: string;
  /** `refused`: the text on disk has errors; the objects of its last good text, if any, are in force. */
  readonly state: 'applied' | 'refused';
  readonly objects: number;
}

export interface SourceState {
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
  readonly files: readonly SourceFile[];
}

export interface Source {
  readonly kind: 'folder' | 'objects' | 'registrations';
  readonly state: SourceState;
  /** Reads everything, then watches. */
  start(changed: () => void): void;
  close(): void;
}

export type ParseText = (file: string, text: string) => { readonly resources: readonly Resource[]; readonly problems: readonly Problem[] };
