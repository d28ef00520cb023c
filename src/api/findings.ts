// What checks say about a value: collected with the path of the place, turned into located problems by whoever knows the text.

import { MESSAGE_CHARACTERS_MAX } from './limits.ts';
import type { ProblemCode, Severity } from './problem.ts';

export interface Finding {
  readonly code: ProblemCode;
  readonly severity: Severity;
  readonly path: string;
  readonly message: string;
  readonly hint: string | undefined;
}

/** A list that only grows. One per document; never shared between documents. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #refused = new Set<string>();
  /** The document is a secret: messages must not quote what it holds. */
  sealed = false;

  add(severity: Severity, code: ProblemCode, path: string, message: string, hint?: string): void {
    const shown = message.length > MESSAGE_CHARACTERS_MAX ? `${message.slice(0, MESSAGE_CHARACTERS_MAX)}…` : message;
    if (severity === 'error') this.#refused.add(path);
    this.list.push({ severity, code, path, message: shown, hint });
  }

  /** What Istio refuses. */
  error(path: string, message: string, hint?: string): void {
    this.add('error', 'INVALID', path, message, hint);
  }

  /** What Istio accepts with a warning. */
  warn(path: string, message: string, hint?: string): void {
    this.add('warning', 'DISCOURAGED', path, message, hint);
  }

  /** The message is there when the check failed, undefined when it passed. */
  unless(path: string, failure: string | undefined, hint?: string): void {
    if (failure !== undefined) this.error(path, failure, hint);
  }

  /** Gives a hint to what has none. */
  hintWhereMissing(hintAt: (path: string) => string | undefined): void {
    for (const [index, finding] of this.list.entries())
      if (finding.hint === undefined) this.list[index] = { ...finding, hint: hintAt(finding.path) };
  }

  /** Something else has refused this value already. */
  failedAt(path: string): boolean {
    return this.#refused.has(path);
  }

  get failed(): boolean {
    return this.list.some((f) => f.severity === 'error');
  }
}
