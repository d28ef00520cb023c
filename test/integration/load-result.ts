// What load.ts is asked for and what it saw, with wall-clock times so that the test can lay its own acts beside them.

export interface LoadOptions {
  readonly count?: number;
  readonly rate?: number;
  readonly seconds?: number;
  readonly header?: string;
  readonly fresh?: boolean;
}

export interface LoadFailure {
  /** When it was sent, milliseconds since 1970. */
  readonly at: number;
  /** How long it took to fail. */
  readonly ms: number;
  readonly reason: string;
}

export interface LoadResult {
  readonly sent: number;
  readonly failures: readonly LoadFailure[];
  /** [when it came, `version`, `instance` of the answer]. */
  readonly answers: readonly (readonly [number, string, string])[];
  readonly slowestMs: number;
}

export const ofVersion = ({ answers }: LoadResult, version: string): number => answers.filter(([, v]) => v === version).length;

/** The failures as one line, times relative to `since`. */
export const failureText = ({ failures }: LoadResult, since = failures[0]?.at ?? 0): string =>
  failures
    .slice(0, 20)
    .map(({ at, ms, reason }) => `${at - since} ms (took ${ms}): ${reason}`)
    .join('; ');
