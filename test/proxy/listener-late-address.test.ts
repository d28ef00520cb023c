// A listener from a control plane whose address is taken: refused, in force once the address is free, and from then on shown and
// removed like any other.
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { handleAdmin } from '../../src/proxy/admin/admin-api.ts';
import { applyResponse } from '../../src/proxy/xds/apply.ts';
import { ResourceStore } from '../../src/proxy/xds/resource-store.ts';
import { encode } from '../../src/xds/codec.ts';
import type { Listener } from '../../src/xds/gen/types.ts';
import { LISTENER_TYPE } from '../../src/xds/resource-types.ts';
import { listener, type Plane, startBackend, startPlane, tcpProxy } from './harness.ts';
import { ManualClock } from './xds-fixture.ts';

const dumped = ({ plane }: Plane, store: ResourceStore): readonly { readonly [field: string]: unknown }[] => {
  const clock = new ManualClock();
  const body = handleAdmin(
    {
      bootstrap: {},
      dataPlane: plane,
      store,
      metrics: new MetricRegistry(),
      log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} } as never,
      clock,
      startedAtMs: clock.now,
      version: 'skein/0',
      commandLine: { concurrency: 1 },
      state: () => 'LIVE',
      refreshStats: () => undefined,
      drainListeners: () => {},
      hotRestart: () => '',
      hotRestartStatus: () => ({}),
      setHealthFailed: () => {},
      reopenLogs: () => {},
      quit: () => {},
    },
    { method: 'GET', path: '/config_dump?resource=dynamic_listeners', body: '' },
  ).body;
  return (JSON.parse(String(body)) as { configs?: { [field: string]: unknown }[] }).configs ?? [];
};

test('a listener that got its address late is shown without its error and goes when it is taken away', { timeout: 120_000 }, async () => {
  const taken = await startBackend(() => {});
  const { port } = taken.server.address() as AddressInfo;
  taken.server.unref();
  await using p = await startPlane({});
  const store = new ResourceStore();
  const apply = (version: string, listeners: readonly Listener[]): number =>
    applyResponse(
      {
        type: LISTENER_TYPE,
        version,
        resources: listeners.map((l) => ({
          name: l.name ?? '',
          bytes: encode('envoy.config.listener.v3.Listener', l),
          decode: () => ({ ...l }),
        })),
      },
      { dataPlane: p.plane, store, nowMs: 1000, wants: () => true },
    ).length;
  assert.equal(apply('1', [listener('l', tcpProxy('c'), { address: { socket_address: { address: '127.0.0.1', port_value: port } } })]), 1);
  assert.deepEqual(Object.keys(dumped(p, store)[0] ?? {}), ['@type', 'name', 'error_state']);
  const bound = new Promise<void>((resolve) => p.plane.onChange(() => p.plane.ready && resolve()));
  await taken[Symbol.asyncDispose]();
  await bound;
  const shown = dumped(p, store);
  assert.equal(shown.length, 1);
  assert.deepEqual(Object.keys(shown[0] ?? {}), ['@type', 'name', 'active_state']);
  assert.match(JSON.stringify(shown[0]), /"version_info":"1"/);
  assert.equal(apply('2', []), 0);
  assert.deepEqual([[...p.plane.listeners()].length, dumped(p, store).length], [0, 0]);
});
