// One limit as configured, and the time windows it is counted in.

export type Unit = 'second' | 'minute' | 'hour' | 'day' | 'week' | 'month' | 'year';

const DAY = 86_400;
/** Fixed windows since 1970, as the reference implementation has them. */
export const UNIT_SECONDS: { readonly [U in Unit]: number } = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: DAY,
  week: 7 * DAY,
  month: 30 * DAY,
  year: 365 * DAY,
};

export interface Limit {
  /** Where it stands in the configuration: `domain.key_value.key2`. */
  readonly path: string;
  readonly requests: number;
  readonly unit: Unit;
  /** Units in one window. */
  readonly multiplier: number;
  /** Never counted, never over. */
  readonly unlimited: boolean;
  /** Counted and told, but never over. */
  readonly shadow: boolean;
  /** Its series tell the values of the request. */
  readonly detailed: boolean;
  readonly name: string;
  /** Names of limits that do not count where this one does. */
  readonly replaces: ReadonlySet<string>;
}

export const windowSeconds = (limit: Limit): number => UNIT_SECONDS[limit.unit] * limit.multiplier;

export const unitOf = (text: string): Unit | undefined => {
  const unit = text.toLowerCase();
  return Object.hasOwn(UNIT_SECONDS, unit) ? (unit as Unit) : undefined;
};
