// The proofs of the three classes, for one case at a time: a blanked honoured field is noticed, an inert one changes nothing, a refused
// one is refused by its name. Contract: a case is run with a changed copy of its configuration; the case itself is never changed.
import { isDeepStrictEqual } from 'node:util';
import { PlanError } from '../../src/plan/plan-error.ts';
import type { FieldCase, Part } from './case.ts';
import { type Path, type Seat, sampleOf, seats, withField, withValue } from './message-walk.ts';
import type { Row, SupportTable } from './support-table.ts';

/** A run that lasts longer has hung: what it waits for does not come. */
const RUN_MS = 4_000;
/** Changed copies of one case that run at the same time. */
const AT_ONCE = 6;

export interface Outcome {
  /** As expected. */
  readonly same: boolean;
  /** What was seen instead, for people. */
  readonly seen: string;
  readonly problem: unknown;
}

export const run = async (test: FieldCase, parts: readonly Part[]): Promise<Outcome> => {
  let timer: NodeJS.Timeout | undefined;
  try {
    const hung = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not within ${RUN_MS} ms`)), RUN_MS);
    });
    const seen = await Promise.race([(async () => await test.observe(parts))(), hung]);
    return { same: isDeepStrictEqual(seen, test.expect), seen: JSON.stringify(seen), problem: undefined };
  } catch (problem) {
    return { same: false, seen: problem instanceof Error ? `${problem.name}: ${problem.message}` : String(problem), problem };
  } finally {
    clearTimeout(timer);
  }
};

/** Most cases wait for what may never come, so they wait briefly: a busy machine must not speak for a field. */
export const runUntilSame = async (test: FieldCase, parts: readonly Part[]): Promise<Outcome> => {
  let outcome = await run(test, parts);
  for (let again = 0; again < 2 && !outcome.same && !(outcome.problem instanceof PlanError); again++) outcome = await run(test, parts);
  return outcome;
};

interface Instance {
  readonly part: number;
  readonly seat: Seat;
}

/** Every message in a case's configuration with the section that speaks of it. */
const instances = function* (parts: readonly Part[]): Generator<Instance> {
  for (const [part, { type, message }] of parts.entries()) for (const seat of seats(type, message)) yield { part, seat };
};

const changed = (parts: readonly Part[], part: number, message: unknown): readonly Part[] =>
  parts.map((p, i) => (i === part ? { ...p, message: message as object } : p));

/** Where each honoured row's field is set in the case. */
export const honouredIn = (table: SupportTable, parts: readonly Part[]): Map<Row, { part: number; path: Path }[]> => {
  const out = new Map<Row, { part: number; path: Path }[]>();
  for (const { part, seat } of instances(parts))
    for (const field of seat.known.fields) {
      if (seat.value[field.name] === undefined) continue;
      const row = table.row(seat.message, seat.place, field.name);
      if (row?.class !== 'honoured') continue;
      const places = out.get(row) ?? [];
      places.push({ part, path: [...seat.path, field.name] });
      out.set(row, places);
    }
  return out;
};

/** Whether the case fails without the field, at one of the places where it is set. */
export const isNoticed = async (
  test: FieldCase,
  parts: readonly Part[],
  places: readonly { part: number; path: Path }[],
): Promise<boolean> => {
  for (const { part, path } of places) {
    const outcome = await run(test, changed(parts, part, withValue(parts[part]?.message, path, undefined)));
    if (!outcome.same) return true;
  }
  return false;
};

/** Where a field that is not set could be, for each row of a class. */
export const unsetIn = (table: SupportTable, parts: readonly Part[], wanted: (row: Row) => boolean): Map<Row, readonly Part[]> => {
  const out = new Map<Row, readonly Part[]>();
  for (const { part, seat } of instances(parts))
    for (const field of seat.known.fields) {
      const row = table.row(seat.message, seat.place, field.name);
      if (row === undefined || out.has(row) || !wanted(row)) continue;
      // It would put out another field, and that is noticed.
      if (
        row.class === 'inert' &&
        seat.known.fields.some((f) => f.oneof >= 0 && f.oneof === field.oneof && seat.value[f.name] !== undefined)
      )
        continue;
      out.set(row, changed(parts, part, withField(parts[part]?.message, seat, field, sampleOf(field))));
    }
  return out;
};

/** A sample that is not whole: what is below the field is minded, not the field. */
export const mindsSample = (outcome: Outcome, field: string): boolean =>
  outcome.problem instanceof PlanError && new RegExp(`(^|[.\\]])${field}[.[]`).test(outcome.problem.path);

export const refusesByName = (outcome: Outcome, field: string): boolean =>
  outcome.problem instanceof PlanError && new RegExp(`(^|[.\\]])${field}($|[.[])`).test(outcome.problem.path);

/** Runs `work` for each, a few at a time. */
export const each = async <T>(list: readonly T[], work: (item: T) => Promise<void>): Promise<void> => {
  const queue = [...list];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    }),
  );
};
