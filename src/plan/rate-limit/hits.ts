// RateLimit.HitsAddend: how many hits a request counts for, given or read from one access log operator.
import type { RateLimit_HitsAddend } from '../../xds/gen/types.ts';
import { compileFormatText } from '../format-text.ts';
import { PlanError } from '../plan-error.ts';
import type { LimitedRequest } from './descriptor.ts';

const HITS_MAX = 1_000_000_000;

/** Below zero: so many are given back. 'none': what it reads is no number of hits, so the rule does not apply. */
export type HitsAddend = (from: LimitedRequest) => number | 'none';

export const compileHits = (config: RateLimit_HitsAddend | undefined, path: string): HitsAddend | undefined => {
  if (config === undefined) return undefined;
  const format = config.format ?? '';
  const sign = config.is_negative_hits === true ? -1 : 1;
  if ((format !== '') === (config.number !== undefined)) throw new PlanError(path, 'either a format or a number is required');
  const { number } = config;
  if (number !== undefined) {
    if (number > HITS_MAX) throw new PlanError(`${path}.number`, `must be at most ${HITS_MAX}`);
    return () => sign * number;
  }
  const [operator, ...more] = compileFormatText(format, `${path}.format`);
  if (operator === undefined || typeof operator === 'string' || more.length > 0)
    throw new PlanError(`${path}.format`, 'must be exactly one substitution');
  return ({ info, request }) => {
    const value = operator(info, request.headers);
    const hits = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value;
    return typeof hits === 'number' && hits >= 0 && hits <= HITS_MAX ? sign * Math.trunc(hits) : 'none';
  };
};
