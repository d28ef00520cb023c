// What a data plane asks for on demand: who waits, who is told, what is let go; and route tables whose virtual hosts come one by one.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanError } from '../../src/plan/plan-error.ts';
import { matchRoute } from '../../src/plan/route.ts';
import { RouteTables } from '../../src/proxy/exchange/route-table.ts';
import { Demand } from '../../src/proxy/on-demand/demand.ts';
import type { VirtualHost } from '../../src/xds/gen/types.ts';
import { ManualClock } from './xds-fixture.ts';

const rig = () => {
  const clock = new ManualClock();
  let changes = 0;
  const uses: string[] = [];
  const demand = new Demand({
    clock,
    changed: () => changes++,
    sweeping: () => {
      for (const name of uses) demand.use('host', name);
    },
  });
  const told: string[] = [];
  const ask = (name: string, ms = 5_000) => demand.ask('host', name, ms, (isThere) => told.push(`${name} ${isThere}`));
  return { clock, demand, told, ask, uses, changes: () => changes };
};
const SWEEP_MS = 300_000;

describe('demand', () => {
  test('all who wait for a name are told once; it is asked for once', () => {
    const { demand, told, ask, changes } = rig();
    ask('r/a');
    ask('r/a');
    ask('r/b').cancel();
    assert.equal(changes(), 2);
    demand.settle('host', 'r/a', true);
    demand.settle('host', 'r/a', true);
    demand.settle('host', 'r/b', true);
    assert.deepEqual(told, ['r/a true', 'r/a true']);
  });

  test('who is told may take back what another one asked', () => {
    const { demand, told } = rig();
    demand.ask('host', 'r/a', 0, () => {
      told.push('first');
      second.cancel();
    });
    const second = demand.ask('host', 'r/a', 0, () => told.push('second'));
    demand.settle('host', 'r/a', true);
    assert.deepEqual(told, ['first']);
  });

  test('who waits too long goes on without it, and the name stays asked for', () => {
    const { clock, demand, told, ask } = rig();
    ask('r/a', 1_000);
    clock.advance(1_000);
    assert.deepEqual(told, ['r/a false']);
    assert.deepEqual([...demand.names().host], ['r/a']);
    demand.settle('host', 'r/a', true);
    assert.deepEqual(told, ['r/a false']);
  });

  test('what is not there is remembered, until it comes', () => {
    const { clock, demand, told, ask } = rig();
    ask('r/a');
    demand.settle('host', 'r/a', false);
    assert.equal(demand.isAnswered('host', 'r/a'), true);
    ask('r/a');
    clock.advance(0);
    assert.deepEqual(told, ['r/a false', 'r/a false']);
    assert.deepEqual([...demand.lacking('host')], ['r/a']);
    demand.settle('host', 'r/a', true);
    assert.deepEqual([...demand.lacking('host')], []);
  });

  test('what nobody used for two sweeps is let go', () => {
    const { clock, demand, ask, uses } = rig();
    ask('r/a');
    ask('r/b');
    demand.settle('host', 'r/a', true);
    demand.settle('host', 'r/b', true);
    uses.push('r/a');
    clock.advance(SWEEP_MS);
    assert.deepEqual([...demand.names().host], ['r/a', 'r/b']);
    clock.advance(SWEEP_MS);
    assert.deepEqual([...demand.names().host], ['r/a']);
  });

  test('names are bounded: room is made by what is not there, never by what is waited for', () => {
    const { clock, demand, told, ask } = rig();
    for (let i = 0; i < 4_096; i++) ask(`r/${i}`, 0);
    ask('r/more');
    clock.advance(0);
    assert.deepEqual(told, ['r/more false']);
    demand.settle('host', 'r/7', false);
    ask('r/more');
    assert.equal(demand.names().host.has('r/more'), true);
    assert.equal(demand.names().host.has('r/7'), false);
    assert.equal(demand.names().host.size, 4_096);
  });
});

const host = (name: string, domains: readonly string[], cluster: string): VirtualHost => ({
  name,
  domains,
  routes: [{ match: { prefix: '/' }, route: { cluster } }],
});
const tables = () => {
  const all = new RouteTables(true);
  const table = all.use('80');
  all.set({ name: '80', vhds: { config_source: { ads: {} } } }, () => {});
  const cluster = (authority: string): string => {
    const request = { authority, path: '/', method: 'GET', scheme: 'http', headers: { get: () => undefined } };
    const match = table.plan && matchRoute(table.plan, request as unknown as Parameters<typeof matchRoute>[1], () => 0);
    return match?.kind === 'route' ? match.clusterName : '';
  };
  return { all, table, cluster };
};

describe('a route table with virtual hosts that come one by one', () => {
  test('they join, change and go; a route configuration that changes keeps them', () => {
    const { all, table, cluster } = tables();
    assert.equal(table.discovery, 5_000);
    all.update({ set: [{ name: '80/a', aliases: ['80/a.example'], host: host('a', ['a.example'], 'one') }], removed: [] }, () => {});
    assert.equal(cluster('a.example'), 'one');
    all.update({ set: [{ name: '80/a', aliases: [], host: host('a', ['a.example'], 'two') }], removed: [] }, () => {});
    assert.equal(cluster('a.example'), 'two');
    all.set({ name: '80', vhds: { config_source: { ads: {} } }, virtual_hosts: [host('own', ['own.example'], 'own')] }, () => {});
    assert.deepEqual([cluster('a.example'), cluster('own.example')], ['two', 'own']);
    assert.deepEqual(
      table.config?.virtual_hosts?.map((h) => h.name),
      ['own', 'a'],
    );
    const { gone } = all.update({ set: [], removed: ['80/a'] }, () => {});
    assert.ok(gone.includes('80/a.example'), 'whoever asked under another name is told as well');
    assert.equal(cluster('a.example'), '');
  });

  test('one goes with the last name that it was asked for under', () => {
    const { all, cluster } = tables();
    all.update({ set: [{ name: '80/a', aliases: ['80/x', '80/y'], host: host('a', ['x', 'y'], 'one') }], removed: [] }, () => {});
    all.update({ set: [], removed: ['80/x'] }, () => {});
    assert.equal(cluster('x'), 'one');
    all.update({ set: [], removed: ['80/y'] }, () => {});
    assert.equal(cluster('x'), '');
  });

  test('a bad one is named, its neighbours are taken, the last good stays', () => {
    const { all, cluster } = tables();
    all.update({ set: [{ name: '80/a', aliases: [], host: host('a', ['a'], 'one') }], removed: [] }, () => {});
    const bad: VirtualHost = { ...host('a', ['a'], 'two'), routes: [{ match: {}, route: { cluster: 'two' } }] };
    const { problems } = all.update(
      {
        set: [
          { name: '80/a', aliases: [], host: bad },
          { name: '80/b', aliases: [], host: host('b', ['b'], 'b') },
        ],
        removed: [],
      },
      () => {},
    );
    assert.deepEqual(
      problems.map(([name]) => name),
      ['80/a'],
    );
    assert.deepEqual([cluster('a'), cluster('b')], ['one', 'b']);
    const conflict = all.update({ set: [{ name: '80/c', aliases: [], host: host('c', ['b'], 'c') }], removed: [] }, () => {});
    assert.match(conflict.problems[0]?.[1] ?? '', /domain of more than one/);
    assert.equal(cluster('b'), 'b');
  });

  test('without an incremental stream it is refused', () => {
    assert.throws(() => new RouteTables().set({ name: '80', vhds: { config_source: { ads: {} } } }, () => {}), PlanError);
    assert.throws(() => new RouteTables(true).set({ name: '80', vhds: {} }, () => {}), PlanError);
  });

  test('what requests go to is in use under every name that it was asked for under', () => {
    const { all, table } = tables();
    all.update({ set: [{ name: '80/a', aliases: ['80/x'], host: host('a', ['x'], 'one') }], removed: [] }, () => {});
    assert.deepEqual([...all.takeUsed()], ['80/a', '80/x']);
    assert.deepEqual([...all.takeUsed()], []);
    const request = { authority: 'x', path: '/', method: 'GET', scheme: 'http', headers: { get: () => undefined } };
    const match = table.plan && matchRoute(table.plan, request as unknown as Parameters<typeof matchRoute>[1], () => 0);
    if (match?.kind === 'route') table.use(match.virtualHost);
    assert.deepEqual([...all.takeUsed()], ['80/a', '80/x']);
  });
});
