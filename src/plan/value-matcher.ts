// envoy.type.matcher.v3.MetadataMatcher and ValueMatcher over dynamic metadata, which is plain JSON.
import type { JsonObject, JsonValue, MetadataMatcher, ValueMatcher } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';
import { compileStringMatcher } from './string-matcher.ts';

type ValueMatch = (value: JsonValue | undefined) => boolean;

export const compileMetadataMatcher = (matcher: MetadataMatcher, path: string): ((metadata: JsonObject | undefined) => boolean) => {
  const filter = matcher.filter ?? '';
  if (filter === '') throw new PlanError(`${path}.filter`, 'is required');
  const keys = (matcher.path ?? []).map((segment) => segment.key ?? '');
  const match = compileValueMatcher(matcher.value ?? {}, `${path}.value`);
  const invert = matcher.invert === true;
  return (metadata) => {
    let at: JsonValue | undefined = metadata?.[filter];
    for (const key of keys) at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined;
    return match(at) !== invert;
  };
};

const compileValueMatcher = (matcher: ValueMatcher, path: string): ValueMatch => {
  if (matcher.null_match !== undefined) return (value) => value === null;
  if (matcher.present_match !== undefined) {
    const want = matcher.present_match;
    return (value) => (value !== undefined) === want;
  }
  if (matcher.bool_match !== undefined) {
    const want = matcher.bool_match;
    return (value) => value === want;
  }
  if (matcher.string_match !== undefined) {
    const match = compileStringMatcher(matcher.string_match, `${path}.string_match`);
    return (value) => typeof value === 'string' && match(value);
  }
  if (matcher.double_match !== undefined) {
    const { exact, range } = matcher.double_match;
    if (exact !== undefined) return (value) => value === exact;
    return (value) => typeof value === 'number' && value >= (range?.start ?? 0) && value < (range?.end ?? 0);
  }
  if (matcher.list_match !== undefined) {
    const one = compileValueMatcher(matcher.list_match.one_of ?? {}, `${path}.list_match.one_of`);
    return (value) => Array.isArray(value) && value.some(one);
  }
  if (matcher.or_match !== undefined) {
    const any = (matcher.or_match.value_matchers ?? []).map((m, i) => compileValueMatcher(m, `${path}.or_match.value_matchers[${i}]`));
    return (value) => any.some((match) => match(value));
  }
  throw new PlanError(path, 'no match pattern is set');
};

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
