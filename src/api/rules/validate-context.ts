// What a semantic check may know besides the spec, and the type of such a check. Checks are pure and say everything they find.

import type { Findings } from '../findings.ts';

export interface CheckContext {
  readonly name: string;
  readonly namespace: string;
  /** Absent where a spec stands alone. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Check<T> = (spec: T, path: string, findings: Findings, context: CheckContext) => void;
