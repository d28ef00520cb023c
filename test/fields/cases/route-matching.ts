// Which route takes a request. Every route answers with its own name.
import type { HeaderMatcher, Route, RouteMatch } from '../../../src/xds/gen/types.ts';
import { hcm, listener as onLoopback } from '../../proxy/harness.ts';
import { type FieldCase, listener, live } from '../case.ts';
import { bodies } from '../http-probe.ts';

const answers = (name: string, match: RouteMatch): Route => ({ match, direct_response: { status: 200, body: { inline_string: name } } });
const onHeader = (matcher: HeaderMatcher): Route =>
  answers(matcher.name ?? '', {
    prefix: '/h',
    headers: [
      { name: `x-${matcher.name}`, present_match: true },
      { ...matcher, name: `x-${matcher.name}` },
    ],
  });

const HEADERS: readonly (readonly [matcher: HeaderMatcher, yes: string, no: string])[] = [
  [{ name: 'exact', exact_match: 'a' }, 'a', 'ab'],
  [{ name: 'prefix', prefix_match: 'a' }, 'ab', 'ba'],
  [{ name: 'suffix', suffix_match: 'a' }, 'ba', 'ab'],
  [{ name: 'contains', contains_match: 'a' }, 'bab', 'b'],
  [{ name: 'regex', safe_regex_match: { regex: 'a+' } }, 'aa', 'b'],
  [{ name: 'range', range_match: { start: 1, end: 3 } }, '2', '3'],
  [{ name: 'range-low', range_match: { start: 2, end: 9 } }, '2', '1'],
  [{ name: 'invert', exact_match: 'a', invert_match: true }, 'b', 'a'],
  [{ name: 's-exact', string_match: { exact: 'a' } }, 'a', 'A'],
  [{ name: 's-prefix', string_match: { prefix: 'a' } }, 'ab', 'ba'],
  [{ name: 's-suffix', string_match: { suffix: 'a' } }, 'ba', 'ab'],
  [{ name: 's-contains', string_match: { contains: 'a' } }, 'bab', 'b'],
  [{ name: 's-regex', string_match: { safe_regex: { regex: 'a+' } } }, 'aa', 'b'],
  [{ name: 's-case', string_match: { exact: 'a', ignore_case: true } }, 'A', 'b'],
];

const ROUTES: readonly Route[] = [
  answers('exact path', { path: '/exact' }),
  answers('any case', { path: '/Case', case_sensitive: false }),
  answers('separated', { path_separated_prefix: '/sep' }),
  answers('regex', { safe_regex: { regex: '/re/[0-9]+' } }),
  answers('query', { prefix: '/q', query_parameters: [{ name: 'a', string_match: { exact: '1' } }] }),
  answers('query present', { prefix: '/q', query_parameters: [{ name: 'b', present_match: true }] }),
  answers('grpc', { prefix: '/g', grpc: {} }),
  answers('missing', {
    prefix: '/missing',
    headers: [{ name: 'x-absent', string_match: { exact: '' }, treat_missing_header_as_empty: true }],
  }),
  answers('low share', { prefix: '/low', runtime_fraction: { default_value: { numerator: 4000, denominator: 'TEN_THOUSAND' } } }),
  answers('high share', { prefix: '/high', runtime_fraction: { default_value: { numerator: 60 } } }),
  answers('present', { prefix: '/present', headers: [{ name: 'x-it', present_match: true }] }),
  ...HEADERS.map(([matcher]) => onHeader(matcher)),
  answers('prefix', { prefix: '/' }),
];

const onHeaders = HEADERS.flatMap(([{ name }, yes, no]) => [yes, no].map((value) => ['/h', { headers: [`x-${name}: ${value}`] }] as const));

export const routeMatching: FieldCase = {
  name: 'route-matching',
  parts: () => [listener(onLoopback('in', hcm(ROUTES)))],
  observe: live(
    ({ port }) =>
      bodies(port(), [
        ['/exact'],
        ['/exact/not'],
        ['/cASE'],
        ['/sep/x'],
        ['/separate'],
        ['/re/12'],
        ['/re/x'],
        ['/q?a=1'],
        ['/q?a=2'],
        ['/q?b'],
        ['/g', { method: 'POST', headers: ['content-type: application/grpc', 'content-length: 0'] }],
        ['/g'],
        ['/missing'],
        ['/low'],
        ['/high'],
        ['/present', { headers: ['x-it: 1'] }],
        ['/present'],
        ...onHeaders,
      ]),
    () => ({ random: () => 0.5 }),
  ),
  expect: [
    'exact path',
    'prefix',
    'any case',
    'separated',
    'prefix',
    'regex',
    'prefix',
    'query',
    'prefix',
    'query present',
    'grpc',
    'prefix',
    'missing',
    'prefix',
    'high share',
    'present',
    'prefix',
    ...HEADERS.flatMap(([{ name }]) => [name, 'prefix']),
  ],
};
