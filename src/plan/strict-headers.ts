// The router's strict_check_headers: requests whose x-envoy-… headers make no sense are refused instead of half heard.
import type { HeaderBlock } from '../wire/header-block.ts';
import { PlanError } from './plan-error.ts';
import { knowsRetryWords } from './retry.ts';

/** The first header that does not hold what it must; undefined: all is well. */
export type StrictCheck = (headers: HeaderBlock) => { readonly name: string; readonly value: string } | undefined;

const isNumber = (value: string): boolean => /^\d{1,19}$/.test(value);
const CHECKS: Readonly<Record<string, (value: string) => boolean>> = {
  'x-envoy-upstream-rq-timeout-ms': isNumber,
  'x-envoy-upstream-rq-per-try-timeout-ms': isNumber,
  'x-envoy-max-retries': isNumber,
  'x-envoy-retry-on': (value) => knowsRetryWords(value, 'http'),
  'x-envoy-retry-grpc-on': (value) => knowsRetryWords(value, 'grpc'),
};

/** undefined: nothing is checked. */
export const compileStrictCheck = (names: readonly string[], path: string): StrictCheck | undefined => {
  if (names.length === 0) return undefined;
  const checks = names.map((name, i) => {
    const check = CHECKS[name];
    if (check === undefined) throw new PlanError(`${path}[${i}]`, `${name} cannot be checked`);
    return { name, check };
  });
  return (headers) => {
    for (const { name, check } of checks) {
      const value = headers.get(name);
      if (value !== undefined && !check(value)) return { name, value };
    }
    return undefined;
  };
};
