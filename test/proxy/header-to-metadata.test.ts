// Metadata from headers and cookies, told by a header_mutation behind it. Every row is what a stock Envoy does; see routing-rig.ts.
import type { AnyMessage, HttpFilter, Route } from '../../src/xds/gen/types.ts';
import { routingTables } from './routing-rig.ts';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters.http';
const NAME = 'envoy.filters.http.header_to_metadata';
const config = (more: object): AnyMessage => ({ '@type': `${FILTERS}.header_to_metadata.v3.Config`, ...more });
const told = (side: 'request' | 'response', header: string, of: string): HttpFilter => ({
  name: `tell-${header}`,
  typed_config: {
    '@type': `${FILTERS}.header_mutation.v3.HeaderMutation`,
    mutations: { [`${side}_mutations`]: [{ append: { header: { key: header, value: `%DYNAMIC_METADATA(${of})%` } } }] },
  },
});
const to = (prefix: string, own?: AnyMessage): Route => ({
  match: { prefix },
  route: { cluster: 'c' },
  ...(own === undefined ? {} : { typed_per_filter_config: { [NAME]: own } }),
});
const present = (header: string, more: object, rest: object = {}) => ({ header, on_header_present: { key: header, ...more }, ...rest });
const numbers = { type: 'NUMBER' };
const base64 = { encode: 'BASE64' };

routingTables([
  {
    name: 'rules for requests write what later filters read',
    filters: [
      {
        name: NAME,
        typed_config: config({
          request_rules: [
            present('x-a', {}),
            present('x-b', { metadata_namespace: 'mine', value: 'fixed' }),
            present('x-c', { regex_value_rewrite: { pattern: { google_re2: {}, regex: '^/(\\w+)/.*$' }, substitution: '\\1' } }),
            present('x-n', numbers),
            present('x-e', base64),
            present('x-p', { type: 'PROTOBUF_VALUE', ...base64 }),
            present('x-r', {}, { remove: true }),
            { cookie: 'sid', on_header_present: { key: 'sid' }, on_header_missing: { key: 'sid', value: 'none' } },
            { header: 'x-m', on_header_missing: { key: 'x-m', value: 'NA==', encode: 'BASE64', type: 'NUMBER' } },
            present(':path', { key: 'path' }),
            present('host', {}),
          ],
        }),
      },
      ...['x-a', 'x-c', 'x-n', 'x-e', 'x-p', 'x-r', 'sid', 'x-m', 'path', 'host'].map((key) =>
        told('request', `m-${key}`, `${NAME}:${key}`),
      ),
      told('request', 'm-b', 'mine:x-b'),
    ],
    routes: [to('/own', config({ request_rules: [present('x-b', { key: 'x-a' })] })), to('/')],
    seen: ['m-x-a', 'm-b', 'm-x-c', 'm-x-n', 'm-x-e', 'm-x-p', 'm-x-r', 'm-sid', 'm-x-m', 'm-path', 'm-host', 'x-r'],
    rows: {
      'GET /': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\nx-a: 1\nx-a: 2\nx-b: c\nx-c: /v1/x': '200 n0 x1 via_upstream [1,2 fixed v1     none 4 / x.test ]',
      'GET /\nx-a:\nx-c: none': '200 n0 x1 via_upstream [  none     none 4 / x.test ]',
      'GET /\nx-n: 12.50': '200 n0 x1 via_upstream [   12.5    none 4 / x.test ]',
      'GET /\nx-n: +1e3': '200 n0 x1 via_upstream [   1000    none 4 / x.test ]',
      'GET /\nx-n: 0x10': '200 n0 x1 via_upstream [   16    none 4 / x.test ]',
      'GET /\nx-n: 1a': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\nx-n: -.5': '200 n0 x1 via_upstream [   -0.5    none 4 / x.test ]',
      'GET /\nx-n: -0x1F': '200 n0 x1 via_upstream [   -31    none 4 / x.test ]',
      'GET /\nx-e: aGk=': '200 n0 x1 via_upstream [    hi   none 4 / x.test ]',
      'GET /\nx-e: aGk': '200 n0 x1 via_upstream [    hi   none 4 / x.test ]',
      'GET /\nx-e: aGl': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\nx-e: a-_k': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\nx-e: a': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      [`GET /\nx-p: ${Buffer.from([0x1a, 2, 0x68, 0x69]).toString('base64')}`]: '200 n0 x1 via_upstream [     hi  none 4 / x.test ]',
      [`GET /\nx-p: ${Buffer.from([0x20, 1]).toString('base64')}`]: '200 n0 x1 via_upstream [     true  none 4 / x.test ]',
      [`GET /\nx-p: ${Buffer.from([0x1a, 9, 0x68]).toString('base64')}`]: '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\nx-r: gone': '200 n0 x1 via_upstream [      gone none 4 / x.test ]',
      'GET /\ncookie: a=b; sid=one; sid=two': '200 n0 x1 via_upstream [       one 4 / x.test ]',
      'GET /\ncookie: a=b\ncookie: sid="q"': '200 n0 x1 via_upstream [       q 4 / x.test ]',
      'GET /\ncookie: sid=; sid=two': '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /\ncookie: sidx=1;sid =2;  sid=a=b': '200 n0 x1 via_upstream [       a=b 4 / x.test ]',
      [`GET /\nx-a: ${'v'.repeat(8191)}`]: `200 n0 x1 via_upstream [${'v'.repeat(8191)}       none 4 / x.test ]`,
      [`GET /\nx-a: ${'v'.repeat(8192)}`]: '200 n0 x1 via_upstream [       none 4 / x.test ]',
      'GET /own?a\nx-a: 1\nx-b: 2\nx-r: stays': '200 n0 x1 via_upstream [2           stays]',
    },
  },
  {
    name: 'rules for responses write what is told of them',
    filters: [
      told('response', 'm-kind', `${NAME}:kind`),
      told('response', 'm-status', `${NAME}:status`),
      {
        name: NAME,
        typed_config: config({
          response_rules: [
            { header: 'x-kind', on_header_present: { key: 'kind' }, on_header_missing: { key: 'kind', value: 'plain' }, remove: true },
            { header: ':status', on_header_present: { key: 'status', type: 'NUMBER' } },
          ],
        }),
      },
    ],
    routes: [{ match: { prefix: '/said' }, direct_response: { status: 404 } }, to('/')],
    shows: ['m-kind', 'm-status', 'x-kind'],
    rows: {
      'GET /\nx-plan: 201;x-kind=own': '201 n0 x1 via_upstream m-kind=own m-status=201',
      'GET /': '200 n0 x1 via_upstream m-kind=plain m-status=200',
      'GET /said': '404 x0 direct_response m-kind=plain m-status=404',
    },
  },
]);
