// A route chosen anew in the middle of a request: whatever is asked of a request is asked for the route that it takes in the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FilterExchange, FilterTask, FilterVerdict, HttpFilter } from '../../src/proxy/filters/http-filter.ts';
import { onDemandFilter } from '../../src/proxy/filters/on-demand.ts';
import { Demand } from '../../src/proxy/on-demand/demand.ts';
import type { ProxyEnvironment } from '../../src/proxy/proxy-environment.ts';
import { hcm, httpBackend, listener, ok, RawClient, ROUTER, startPlane, staticCluster } from './harness.ts';
import { ManualClock } from './xds-fixture.ts';

const startRig = (filters: readonly HttpFilter[], port: number, paths: readonly string[]) =>
  startPlane(
    {
      clusters: [staticCluster('web', [port])],
      listeners: [
        listener(
          'in',
          hcm(
            paths.map((path, i) => ({
              match: { path },
              route: { cluster: 'web', ...(i === 0 ? { upgrade_configs: [{ upgrade_type: 'websocket' }] } : {}) },
            })),
            {
              http_filters: [
                ...filters.map((_, i) => ({ name: `f${i}`, typed_config: { '@type': `type.googleapis.com/test.F${i}` } })),
                ROUTER,
              ],
            },
          ),
        ),
      ],
    },
    { httpFilters: new Map(filters.map((filter, i) => [`test.F${i}`, { compile: () => filter }])) },
  );

/** Sends every request to /b, after a turn, and says `verdict`. */
const toB = (verdict: FilterVerdict): HttpFilter => ({
  onRequest: (exchange) => {
    if (exchange.path === '/b') return undefined;
    const task: FilterTask = { cancel: () => {} };
    setImmediate(() => {
      exchange.path = '/b';
      exchange.reroute();
      exchange.proceed(task, verdict);
    });
    return { kind: 'wait', task };
  },
});

for (const from of ['/a', '/none'])
  test(`an upgrade that came for ${from} does not pass over a route that allows none`, async () => {
    await using web = await httpBackend(() => ok('reached'));
    await using rig = await startRig([toB(undefined)], web.port, ['/a', '/b']);
    const client = await RawClient.open(rig.port('in'));
    client.send(`GET ${from} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`);
    assert.equal((await client.response()).status, 403);
    assert.equal(web.sockets.length, 0);
    client.close();
  });

test('filters that let a request pass because it had no route are asked again when it has one', async () => {
  const seen: boolean[] = [];
  const decides: HttpFilter = {
    onRequest: ({ route }): FilterVerdict => {
      seen.push(route !== undefined);
      return route === undefined ? undefined : { kind: 'reply', status: 403, body: '', details: 'no', headers: [] };
    },
  };
  await using web = await httpBackend(() => ok('reached'));
  await using rig = await startRig([decides, toB({ kind: 'again' })], web.port, ['/b']);
  const client = await RawClient.open(rig.port('in'));
  client.send('GET /a HTTP/1.1\r\nhost: a\r\n\r\n');
  assert.equal((await client.response()).status, 403);
  assert.deepEqual(seen, [false, true]);
  assert.equal(web.sockets.length, 0);
  client.close();
});

test('a route that came on demand has all filters asked again; one that did not come has not', () => {
  const clock = new ManualClock();
  const demand = new Demand({ clock, changed: () => {}, sweeping: () => {} });
  const env = { demand, asksOnDemand: true, cluster: () => ({}) } as unknown as ProxyEnvironment;
  const filter = onDemandFilter.compile(undefined, {} as never, { env, place: '' });
  const told: (string | undefined)[] = [];
  const ask = (authority: string): void => {
    const exchange = {
      authority,
      route: undefined,
      routes: { name: 'r', discovery: 1_000 },
      reroute: () => {},
      proceed: (_: FilterTask, verdict: FilterVerdict) => told.push(verdict?.kind),
    } as unknown as FilterExchange;
    assert.equal(filter.onRequest?.(exchange, undefined)?.kind, 'wait');
  };
  ask('there');
  ask('nowhere');
  demand.settle('host', 'r/there', true);
  demand.settle('host', 'r/nowhere', false);
  assert.deepEqual(told, ['again', undefined]);
});
