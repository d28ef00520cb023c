// Filters that look at headers of requests: csrf, and header_to_metadata, whose metadata a header_mutation tells.
import type { AnyMessage, HttpFilter, Route } from '../../../src/xds/gen/types.ts';
import { type Backend, hcm, listener as onLoopback, ROUTER, staticCluster } from '../../proxy/harness.ts';
import { cluster, type FieldCase, listener, live, type Part } from '../case.ts';
import { type Ask, ask, echoServer } from '../http-probe.ts';

let echo: Backend;
const start = async () => {
  echo = await echoServer();
  return echo;
};
const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const parts = (filters: readonly HttpFilter[], routes: readonly Route[]): Part[] => [
  cluster(staticCluster('echo', [echo.port])),
  listener(onLoopback('in', hcm(routes, { http_filters: [...filters, ROUTER] }))),
];

const CSRF = 'envoy.filters.http.csrf';
const percent = (numerator: number) => ({ default_value: { numerator } });
const policy = (more: object): AnyMessage => ({ '@type': `${FILTERS}.csrf.v3.CsrfPolicy`, ...more });
const to = (prefix: string, own: AnyMessage): Route => ({
  match: { prefix },
  route: { cluster: 'echo' },
  typed_per_filter_config: { [CSRF]: own },
});

const csrf: FieldCase = {
  name: 'csrf',
  start,
  parts: () =>
    parts(
      [{ name: CSRF, typed_config: policy({ filter_enabled: percent(100) }) }],
      [
        to('/watched', policy({ filter_enabled: percent(0), shadow_enabled: percent(100) })),
        to('/friends', policy({ filter_enabled: percent(100), additional_origins: [{ exact: 'b.test' }] })),
        { match: { prefix: '/' }, route: { cluster: 'echo' } },
      ],
    ),
  observe: live(async ({ port, plane }) => {
    const seen: unknown[] = [];
    for (const path of ['/watched', '/friends', '/'])
      seen.push((await ask(port(), path, { method: 'POST', headers: ['origin: http://b.test'], body: '' })).status);
    return [...seen, plane.stats.find('http.test.csrf.request_invalid')?.value];
  }),
  expect: [200, 200, 403, 2],
};

const METADATA = 'envoy.filters.http.header_to_metadata';
const told = (side: 'request' | 'response', header: string, of: string): HttpFilter => ({
  name: header,
  typed_config: {
    '@type': `${FILTERS}.header_mutation.v3.HeaderMutation`,
    mutations: { [`${side}_mutations`]: [{ append: { header: { key: header, value: `%DYNAMIC_METADATA(${of})%` } } }] },
  },
});

const headerToMetadata: FieldCase = {
  name: 'header-to-metadata',
  start,
  parts: () =>
    parts(
      [
        told('response', 'm-answer', `${METADATA}:answer`),
        {
          name: METADATA,
          typed_config: {
            '@type': `${FILTERS}.header_to_metadata.v3.Config`,
            stat_prefix: 'told',
            request_rules: [
              { header: 'x-a', on_header_present: { metadata_namespace: 'mine', key: 'a' }, remove: true },
              { header: 'x-b', on_header_present: { key: 'b', value: 'fixed' }, on_header_missing: { key: 'b', value: 'none' } },
              {
                header: 'x-c',
                on_header_present: {
                  key: 'c',
                  regex_value_rewrite: { pattern: { google_re2: {}, regex: 'v(.)' }, substitution: '\\1' },
                },
              },
              { header: 'x-n', on_header_present: { key: 'n', type: 'NUMBER', encode: 'BASE64' } },
              { cookie: 'sid', on_header_present: { key: 'sid' } },
            ],
            response_rules: [{ header: ':status', on_header_present: { key: 'answer' } }],
          },
        },
        told('request', 'm-a', 'mine:a'),
        ...['b', 'c', 'n', 'sid'].map((key) => told('request', `m-${key}`, `${METADATA}:${key}`)),
      ],
      [{ match: { prefix: '/' }, route: { cluster: 'echo' } }],
    ),
  observe: live(async ({ port, plane }) => {
    const look = async (headers: Ask['headers']): Promise<string> => {
      const { head, body } = await ask(port(), '/', { headers: headers ?? [] });
      const lines = `${head}\n${body}`
        .split(/\r?\n/)
        .filter((line) => /^(m|x)-[a-z]+:/.test(line) && !/^x-(envoy|request|forwarded)/.test(line));
      return lines.sort().join(', ');
    };
    return [
      await look(['x-a: one', 'x-b: two', 'x-c: v1', 'x-n: MS41MA==', 'cookie: sid=s']),
      await look([]),
      plane.stats.find('http_filter_name.told.request_rules_processed')?.value,
    ];
  }),
  expect: [
    'm-a: one, m-answer: 200, m-b: fixed, m-c: 1, m-n: 1.5, m-sid: s, x-b: two, x-c: v1, x-n: MS41MA==',
    'm-answer: 200, m-b: none',
    10,
  ],
};

export const ORIGIN_AND_METADATA_CASES: readonly FieldCase[] = [csrf, headerToMetadata];
