// Several texts checked together, as one configuration: every problem of each, and objects that are written in two of them. Pure;
// what only the whole mesh shows (unknown hosts, subsets, gateways) is the mesh room's.

import { parseDocuments } from './parse-documents.ts';
import type { Problem } from './problem.ts';
import { type Resource, resourceKey } from './resource.ts';

export interface NamedText {
  readonly file: string;
  readonly text: string;
}

export interface Validation {
  /** Objects without an error of their own. */
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
}

export const validateTexts = (texts: readonly NamedText[], defaultNamespace: string): Validation => {
  const problems: Problem[] = [];
  const seen = new Map<string, string>();
  const resources: Resource[] = [];
  for (const { file, text } of texts) {
    const parsed = parseDocuments(file, text, { defaultNamespace });
    problems.push(...parsed.problems);
    for (const resource of parsed.resources) {
      resources.push(resource);
      const key = resourceKey(resource);
      const first = seen.get(key);
      if (first === undefined) {
        seen.set(key, `${file}:${resource.origin.line}`);
        continue;
      }
      const path = 'metadata.name';
      const message = `${resource.kind} ${resource.namespace}/${resource.name} is also written at ${first}`;
      problems.push({ file, ...resource.origin.at(path), path, code: 'DUPLICATE_OBJECT', severity: 'error', message });
    }
  }
  return { resources, problems };
};
