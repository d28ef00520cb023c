// envoy.type.matcher.v3.StringMatcher, compiled to a function of one text.
import type { Matcher_StringMatcher } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';
import { compileFullMatch } from './regex.ts';

export type TextMatch = (text: string) => boolean;

export const compileStringMatcher = (matcher: Matcher_StringMatcher, path: string): TextMatch => {
  const fold = matcher.ignore_case === true;
  const key = (text: string): string => (fold ? text.toLowerCase() : text);
  if (matcher.exact !== undefined) {
    const want = key(matcher.exact);
    return fold ? (text) => text.length === want.length && text.toLowerCase() === want : (text) => text === want;
  }
  if (matcher.prefix !== undefined) {
    const want = nonEmpty(key(matcher.prefix), `${path}.prefix`);
    return (text) => key(text).startsWith(want);
  }
  if (matcher.suffix !== undefined) {
    const want = nonEmpty(key(matcher.suffix), `${path}.suffix`);
    return (text) => key(text).endsWith(want);
  }
  if (matcher.contains !== undefined) {
    const want = nonEmpty(key(matcher.contains), `${path}.contains`);
    return (text) => key(text).includes(want);
  }
  if (matcher.safe_regex !== undefined) {
    if (fold) throw new PlanError(`${path}.ignore_case`, 'has no effect on safe_regex and is refused with it, as by Envoy');
    return compileFullMatch(matcher.safe_regex, `${path}.safe_regex`);
  }
  if (matcher.custom !== undefined) throw new PlanError(`${path}.custom`, 'custom string matchers are not supported');
  throw new PlanError(path, 'no match pattern is set');
};

const nonEmpty = (text: string, path: string): string => {
  if (text === '') throw new PlanError(path, 'must not be empty');
  return text;
};
