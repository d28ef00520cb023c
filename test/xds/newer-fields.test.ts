// Fields that Envoy has and the packaged .proto tree does not: those that would change what traffic meets are refused by their path,
// in bytes and in JSON; those nobody knows are counted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodecError, decode, encode } from '../../src/xds/codec.ts';
import { fromJson } from '../../src/xds/json.ts';

const ROUTES = 'envoy.config.route.v3.RouteConfiguration';
const refusal = (path: string) => (problem: unknown) =>
  problem instanceof CodecError && problem.path === path && problem.message.includes('is not supported');

/** One field of the given number that holds `payload`. */
const field = (number: number, payload: Uint8Array): Uint8Array => {
  const key = number * 8 + 2;
  const head = key < 128 ? [key] : [(key & 127) | 128, key >> 7];
  return Uint8Array.from([...head, payload.length, ...payload]);
};

test('a route that matches on a cookie is refused, not matched without it', () => {
  // virtual_hosts[0].routes[0].match.cookies
  const bytes = field(2, field(3, field(1, field(17, new Uint8Array()))));
  assert.throws(() => decode(ROUTES, bytes), refusal('virtual_hosts[0].routes[0].match.cookies'));
  const json = { virtual_hosts: [{ name: 'a', domains: ['*'], routes: [{ match: { prefix: '/', cookies: [{ name: 'a' }] } }] }] };
  assert.throws(() => fromJson(ROUTES, json), refusal('virtual_hosts[0].routes[0].match.cookies'));
});

test('a switch that is off is not there', () => {
  const retries = fromJson('envoy.config.route.v3.RetryPolicy', { retry_on: '5xx', refresh_cluster_on_retry: false });
  assert.deepEqual(retries, { retry_on: '5xx' });
});

test('a newer field that is honoured is read', () => {
  const routes = { name: 'r', virtual_hosts: [{ name: 'a', domains: ['*'], request_body_buffer_limit: 4096 }] };
  assert.deepEqual(decode(ROUTES, encode(ROUTES, routes)), routes);
});

test('a field that nobody knows is counted', () => {
  const unknown: string[] = [];
  decode(ROUTES, field(2, field(1999, new Uint8Array(3))), { onUnknownField: (path) => unknown.push(path) });
  assert.deepEqual(unknown, ['virtual_hosts[0].envoy.config.route.v3.VirtualHost#1999']);
});
