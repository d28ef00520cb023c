// envoy.config.route.v3.HeaderMatcher and QueryParameterMatcher, compiled to functions of a request (or of a response's
// headers). A repeated header matches when one of its values does.
import type { HeaderBlock } from '../wire/header-block.ts';
import { nameId } from '../wire/header-name.ts';
import type { HeaderMatcher, QueryParameterMatcher } from '../xds/gen/types.ts';
import { PlanError } from './plan-error.ts';
import { queryParameter } from './query.ts';
import { compileFullMatch } from './regex.ts';
import type { RequestView } from './request-view.ts';
import { compileStringMatcher, type TextMatch } from './string-matcher.ts';

export type RequestMatch = (req: RequestView) => boolean;
type Pseudo = 'method' | 'path' | 'authority' | 'scheme';
const PSEUDO: Readonly<Record<string, Pseudo>> = {
  ':method': 'method',
  ':path': 'path',
  ':authority': 'authority',
  ':scheme': 'scheme',
  host: 'authority',
};

export const compileHeaderMatcher = (matcher: HeaderMatcher, path: string): RequestMatch => {
  const name = headerName(matcher, path);
  const pseudo = PSEUDO[name];
  if (pseudo === undefined) {
    const match = compileBlockMatch(matcher, name, path);
    return (req) => match(req.headers);
  }
  const invert = matcher.invert_match === true;
  const test = valueTest(matcher, path);
  const emptyCounts = matcher.treat_missing_header_as_empty === true;
  if (typeof test === 'boolean') return (req) => ((emptyCounts || req[pseudo] !== '') === test) !== invert;
  return (req) => (req[pseudo] !== '' || emptyCounts ? test(req[pseudo]) !== invert : false);
};

/** For responses: `:status` is their only pseudo header. */
export const compileResponseMatcher = (matcher: HeaderMatcher, path: string): ((headers: HeaderBlock, status: number) => boolean) => {
  const name = headerName(matcher, path);
  if (name !== ':status') return compileBlockMatch(matcher, name, path);
  const invert = matcher.invert_match === true;
  const test = valueTest(matcher, path);
  if (typeof test === 'boolean') return () => test !== invert;
  return (_, status) => test(String(status)) !== invert;
};

const compileBlockMatch = (matcher: HeaderMatcher, name: string, path: string): ((headers: HeaderBlock) => boolean) => {
  const invert = matcher.invert_match === true;
  const test = valueTest(matcher, path);
  const id = nameId(name);
  if (typeof test === 'boolean') {
    // What is missing is there when it is to be taken as empty.
    if (matcher.treat_missing_header_as_empty === true) return () => test !== invert;
    return (headers) => ((id > 0 ? headers.hasId(id) : headers.has(name)) === test) !== invert;
  }
  const missing = matcher.treat_missing_header_as_empty === true ? test('') !== invert : false;
  return (headers) => {
    const first = id > 0 ? headers.getById(id) : headers.get(name);
    if (first === undefined) return missing;
    if (test(first)) return !invert;
    return (headers.values(name).length > 1 && headers.values(name).some(test)) !== invert;
  };
};

const headerName = (matcher: HeaderMatcher, path: string): string => {
  const name = (matcher.name ?? '').toLowerCase();
  if (name === '') throw new PlanError(`${path}.name`, 'is required');
  return name;
};

/** A boolean: only presence counts, and this is what it must be. */
const valueTest = (m: HeaderMatcher, path: string): TextMatch | boolean => {
  if (m.string_match !== undefined) return compileStringMatcher(m.string_match, `${path}.string_match`);
  if (m.present_match !== undefined) return m.present_match;
  if (m.exact_match !== undefined) return m.exact_match === '' ? true : compileStringMatcher({ exact: m.exact_match }, path);
  if (m.prefix_match !== undefined) return compileStringMatcher({ prefix: m.prefix_match }, path);
  if (m.suffix_match !== undefined) return compileStringMatcher({ suffix: m.suffix_match }, path);
  if (m.contains_match !== undefined) return compileStringMatcher({ contains: m.contains_match }, path);
  if (m.safe_regex_match !== undefined) return compileFullMatch(m.safe_regex_match, `${path}.safe_regex_match`);
  if (m.range_match !== undefined) {
    const start = m.range_match.start ?? 0;
    const end = m.range_match.end ?? 0;
    return (text) => /^[+-]?\d{1,19}$/.test(text) && Number(text) >= start && Number(text) < end;
  }
  return true;
};

export const compileQueryMatcher = (matcher: QueryParameterMatcher, path: string): RequestMatch => {
  const name = matcher.name ?? '';
  if (name === '') throw new PlanError(`${path}.name`, 'is required');
  if (matcher.string_match !== undefined) {
    const match = compileStringMatcher(matcher.string_match, `${path}.string_match`);
    return (req) => {
      const value = queryParameter(req.path, name);
      return value !== undefined && match(value);
    };
  }
  const present = matcher.present_match ?? true;
  return (req) => (queryParameter(req.path, name) !== undefined) === present;
};
