// Matching by metadata, TLS facts and CONNECT: decided without sockets, from what filters and the connection have left.
import { compileRoutes, matchRoute } from '../../../src/plan/route.ts';
import type { MetadataMatcher, Route, ValueMatcher } from '../../../src/xds/gen/types.ts';
import { request } from '../../plan/request.ts';
import { type FieldCase, only, routes } from '../case.ts';

const VALUES: readonly (readonly [name: string, value: ValueMatcher])[] = [
  ['text', { string_match: { exact: 'a' } }],
  ['number', { double_match: { exact: 2 } }],
  ['range', { double_match: { range: { start: 1, end: 3 } } }],
  ['low', { double_match: { range: { start: 2, end: 9 } } }],
  ['yes', { bool_match: true }],
  ['there', { present_match: true }],
  ['nothing', { null_match: {} }],
  ['list', { list_match: { one_of: { string_match: { exact: 'a' } } } }],
  ['either', { or_match: { value_matchers: [{ string_match: { exact: 'z' } }, { string_match: { exact: 'a' } }] } }],
];
const on = (matcher: MetadataMatcher, name: string): Route => ({
  match: { prefix: `/${name}`, dynamic_metadata: [matcher] },
  route: { cluster: name },
});
const at = (name: string, value: ValueMatcher): MetadataMatcher => ({ filter: 'f', path: [{ key: 'deep' }, { key: name }], value });

const GOOD = { text: 'a', number: 2, range: 2, low: 2, yes: true, there: 1, nothing: null, list: ['b', 'a'], either: 'a' };
const BAD = { text: 'b', number: 3, range: 3, low: 1, yes: false, nothing: 1, list: ['b'], either: 'b' };

export const metadataMatching: FieldCase = {
  name: 'metadata-matching',
  parts: () => [
    routes({
      name: 'r',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            ...VALUES.map(([name, value]) => on(at(name, value), name)),
            on({ ...at('text', { string_match: { exact: 'a' } }), invert: true }, 'invert'),
            { match: { prefix: '/tls', tls_context: { presented: true, validated: true } }, route: { cluster: 'tls' } },
            { match: { prefix: '/seen', tls_context: { presented: true } }, route: { cluster: 'seen' } },
            { match: { connect_matcher: {} }, route: { cluster: 'connect' } },
            { match: { prefix: '/' }, route: { cluster: 'other' } },
          ],
        },
      ],
    }),
  ],
  observe: (parts) => {
    const plan = compileRoutes(only(parts, 'envoy.config.route.v3.RouteConfiguration'));
    const chosen = (req: ReturnType<typeof request>): string => {
      const match = matchRoute(plan, req, () => 0.5);
      return match.kind === 'route' ? match.clusterName : match.kind;
    };
    return {
      values: [...VALUES.map(([name]) => name), 'invert'].map((name) =>
        [GOOD, BAD].map((deep) => chosen(request(`/${name}`, { dynamicMetadata: { f: { deep } } }))).join(' '),
      ),
      tls: [
        chosen(request('/tls', { tls: { presented: true, validated: true } })),
        chosen(request('/tls', { tls: { presented: true, validated: false } })),
        chosen(request('/tls', { tls: { presented: false, validated: true } })),
        chosen(request('/seen', { tls: { presented: false, validated: false } })),
      ],
      connect: chosen(request('', { method: 'CONNECT', authority: 'a.test:443' })),
    };
  },
  expect: {
    values: [...VALUES.map(([name]) => `${name} other`), 'other invert'],
    tls: ['tls', 'other', 'other', 'other'],
    connect: 'connect',
  },
};
