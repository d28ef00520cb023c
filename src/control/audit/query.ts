// Which entries of the audit log somebody asks for: the newest that all filters let through.
import { type ChainLine, readLine } from './chain.ts';
import { auditFiles, auditLines } from './chain-files.ts';

export const AUDIT_FILTERS = ['type', 'kind', 'namespace', 'name', 'who', 'since', 'until'] as const;

export type AuditQuery = Partial<Readonly<Record<(typeof AUDIT_FILTERS)[number], string>>>;

export const AUDIT_LIMIT_MAX = 10_000;

/** Oldest first; `limit` of the newest. */
export const auditEntries = (folder: string, query: AuditQuery, limit: number): readonly ChainLine['entry'][] => {
  const steps = entrySteps(folder, query, limit);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
};

/** A file at a time, for those who have other work. */
export function* entrySteps(folder: string, query: AuditQuery, limit: number): Generator<void, readonly ChainLine['entry'][]> {
  const found: ChainLine['entry'][] = [];
  for (const file of [...auditFiles(folder)].reverse()) {
    const own = auditLines(folder, file).flatMap((line) => {
      const entry = readLine(line)?.entry;
      return entry !== undefined && passes(entry, query) ? [entry] : [];
    });
    found.unshift(...own.slice(-(limit - found.length)));
    if (found.length >= limit) break;
    yield;
  }
  return found;
}

export const passes = (entry: ChainLine['entry'], query: AuditQuery): boolean => {
  const { since, until, who, ...exact } = query;
  const time = String(entry['time'] ?? '');
  if (since !== undefined && time < since) return false;
  if (until !== undefined && time >= until) return false;
  if (who !== undefined && !whoOf(entry).includes(who)) return false;
  return Object.entries(exact).every(([field, wanted]) => entry[field] === wanted);
};

/** Whom an entry is about, or who did it. */
export const whoOf = (entry: ChainLine['entry']): string => {
  const { by, who } = entry;
  if (typeof who === 'string') return who;
  if (typeof by !== 'object' || by === null) return '';
  const { who: name, via, from } = by as Readonly<Record<string, unknown>>;
  return [name ?? via, from].filter((v): v is string => typeof v === 'string').join(' at ');
};
