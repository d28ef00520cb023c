// EnvoyFilter on route configurations, virtual hosts and routes: every operation, every condition of a match.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { patchRoutes } from '../../src/translate/patch-routes.ts';
import type { PatchContext } from '../../src/translate/patch-set.ts';
import type { RouteConfiguration } from '../../src/xds/gen/types.ts';
import { nodeOf, one, type PatchText, placeOf } from './patch-fixture.ts';

const routesOf = (name = '80'): RouteConfiguration => ({
  name,
  virtual_hosts: [
    {
      name: 'a:80',
      domains: ['a', 'a.default'],
      routes: [
        { name: 'first', route: { cluster: 'c', timeout: '1s' } },
        { name: 'moved', redirect: { path_redirect: '/' } },
        { name: 'gone', direct_response: { status: 410 } },
      ],
    },
    { name: 'b:80', domains: ['b'], routes: [{ name: 'only', route: { cluster: 'c' } }] },
  ],
});

const patched = (patch: PatchText, rc = routesOf()): RouteConfiguration => patchRoutes(rc, placeOf(one(patch)));

const shape = (rc: RouteConfiguration): string =>
  (rc.virtual_hosts ?? []).map((h) => `${h.name}: ${(h.routes ?? []).map((r) => r.name).join(' ')}`).join(' | ');

const BEFORE = 'a:80: first moved gone | b:80: only';
const toHost = (vhost: Readonly<Record<string, unknown>>) => ({ routeConfiguration: { vhost } });

test('a route configuration is merged and nothing else', () => {
  const on = (operation: string) => patched({ applyTo: 'ROUTE_CONFIGURATION', operation, value: { request_headers_to_remove: ['x'] } });
  assert.deepEqual(on('MERGE').request_headers_to_remove, ['x']);
  for (const operation of ['ADD', 'REMOVE', 'REPLACE']) assert.deepEqual(on(operation), routesOf(), operation);
});

test('virtual hosts are merged, replaced, removed and added', () => {
  const on = (operation: string, value: PatchText['value'], vhost: Readonly<Record<string, unknown>> = { name: 'b:80' }) =>
    patched({ applyTo: 'VIRTUAL_HOST', operation, match: toHost(vhost), value: value ?? {} });
  assert.deepEqual(on('MERGE', { domains: ['c'] }).virtual_hosts?.[1]?.domains, ['b', 'c']);
  assert.deepEqual(on('MERGE_AND_REPLACE_LIST', { domains: ['c'] }).virtual_hosts?.[1]?.domains, ['c']);
  assert.equal(shape(on('REPLACE', { name: 'new', domains: ['n'] })), 'a:80: first moved gone | new: ');
  assert.equal(shape(on('REMOVE', undefined)), 'a:80: first moved gone');
  assert.equal(shape(on('ADD', { name: 'new' })), `${BEFORE} | new: `);
  assert.equal(shape(on('REMOVE', undefined, { domainName: 'a.default' })), 'b:80: only');
  assert.equal(shape(on('REMOVE', undefined, { name: 'b:80', domainName: 'a' })), BEFORE);
});

test('routes are placed as each operation says', () => {
  const put = (operation: string, route?: Readonly<Record<string, unknown>>): string =>
    shape(
      patched({
        applyTo: 'HTTP_ROUTE',
        operation,
        match: toHost({ name: 'a:80', ...(route === undefined ? {} : { route }) }),
        value: { name: 'new' },
      }),
    ).split(' | ')[0] ?? '';
  assert.equal(put('ADD'), 'a:80: first moved gone new');
  assert.equal(put('INSERT_FIRST'), 'a:80: new first moved gone');
  assert.equal(put('INSERT_FIRST', { name: 'gone' }), 'a:80: new first moved gone');
  assert.equal(put('INSERT_FIRST', { name: 'absent' }), 'a:80: first moved gone');
  assert.equal(put('INSERT_BEFORE'), 'a:80: new first moved gone');
  assert.equal(put('INSERT_BEFORE', { name: 'moved' }), 'a:80: first new moved gone');
  assert.equal(put('INSERT_BEFORE', { name: 'absent' }), 'a:80: first moved gone');
  assert.equal(put('INSERT_AFTER'), 'a:80: first moved gone new');
  assert.equal(put('INSERT_AFTER', { name: 'first' }), 'a:80: first new moved gone');
  assert.equal(put('REMOVE', { action: 'REDIRECT' }), 'a:80: first gone');
  assert.equal(put('REMOVE', { action: 'DIRECT_RESPONSE' }), 'a:80: first moved');
  assert.equal(put('REMOVE', { action: 'ROUTE' }), 'a:80: moved gone');
  assert.equal(put('REMOVE', { action: 'ANY' }), 'a:80: ');
  assert.equal(put('REPLACE', { name: 'first' }), 'a:80: first moved gone');
});

test('merging another action into a route takes the old one away, the same action is merged inside', () => {
  const on = (value: PatchText['value']) =>
    patched({ applyTo: 'HTTP_ROUTE', operation: 'MERGE', match: toHost({ name: 'b:80' }), value: value ?? {} }).virtual_hosts?.[1]
      ?.routes?.[0];
  assert.deepEqual(on({ redirect: { path_redirect: '/x' } }), { name: 'only', redirect: { path_redirect: '/x' } });
  assert.deepEqual(on({ route: { timeout: '2s' } }), { name: 'only', route: { cluster: 'c', timeout: '2s' } });
  const limits = { rate_limits: [{ actions: [{ remote_address: {} }] }] };
  assert.deepEqual(on({ route: limits })?.route, { cluster: 'c', ...limits });
});

test('what routes share is not written to', () => {
  const rc = routesOf();
  patchRoutes(rc, placeOf(one({ applyTo: 'HTTP_ROUTE', operation: 'REMOVE' })));
  assert.deepEqual(rc, routesOf());
});

test('a route configuration of a sidecar is found by name and by port', () => {
  const hit = (match: Readonly<Record<string, unknown>>, name: string): boolean =>
    shape(patched({ applyTo: 'VIRTUAL_HOST', operation: 'REMOVE', match: { routeConfiguration: match } }, routesOf(name))) === '';
  assert.ok(hit({}, '80'));
  assert.ok(hit({ portNumber: 80 }, '80'));
  assert.ok(!hit({ portNumber: 81 }, '80'));
  assert.ok(hit({ portNumber: 8080 }, 'inbound|8080||'));
  assert.ok(!hit({ portNumber: 80 }, 'a.default:80'), 'a detected port has no number in Istio either');
  assert.ok(hit({ name: 'a.default:80' }, 'a.default:80'));
  assert.ok(!hit({ name: '80' }, '81'));
});

test('a route configuration of a gateway is found by port, port name, gateway and the service port in front', () => {
  const gateway = nodeOf({}, 'router');
  const hit = (match: Readonly<Record<string, unknown>>, name: string, ports: readonly number[] | undefined = undefined): boolean => {
    const set = one({ applyTo: 'VIRTUAL_HOST', operation: 'REMOVE', match: { context: 'GATEWAY', routeConfiguration: match } }, gateway);
    const servicePorts = () => (ports === undefined ? undefined : new Set(ports));
    return shape(patchRoutes(routesOf(name), { set, context: 'GATEWAY', servicePorts })) === '';
  };
  assert.ok(hit({ portNumber: 8443, portName: 'tls', gateway: 'ns/gw' }, 'https.8443.tls.gw.ns'));
  assert.ok(!hit({ portName: 'other' }, 'https.8443.tls.gw.ns'));
  assert.ok(!hit({ gateway: 'ns/other' }, 'https.8443.tls.gw.ns'));
  assert.ok(hit({ portNumber: 8080 }, 'http.8080'));
  assert.ok(!hit({ portNumber: 8080 }, 'http.8080', [80]));
  assert.ok(hit({ portNumber: 80 }, 'http.8080', [80]));
  assert.ok(!hit({ gateway: 'ns/gw' }, 'http.8080'), 'plain HTTP servers of a port share one');
});

test('a patch for another context is left alone', () => {
  const remove = { applyTo: 'VIRTUAL_HOST', operation: 'REMOVE' };
  const shapeIn = (context: PatchContext): string =>
    shape(patchRoutes(routesOf(), placeOf(one({ ...remove, match: { context: 'SIDECAR_INBOUND' } }), context)));
  assert.equal(shapeIn('SIDECAR_OUTBOUND'), BEFORE);
  assert.equal(shapeIn('SIDECAR_INBOUND'), '');
});
