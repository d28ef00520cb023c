// Filters whose configuration comes by name (ECDS), from an in-process control plane onto a real data plane.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { Subscriptions } from '../../src/proxy/xds/subscriptions.ts';
import type { AnyMessage, ExtensionConfigSource, Listener } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE, EXTENSION_TYPE, LISTENER_TYPE } from '../../src/xds/resource-types.ts';
import { eventually, fetchOnce, hcm, httpBackend, listener, type Plane, ROUTER, startPlane, staticCluster, toCluster } from './harness.ts';
import { dynamicBootstrap, FakeControl, ManualClock, settle } from './xds-fixture.ts';

const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
const CORS = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors';
const abort = (status: number): AnyMessage => ({
  '@type': FAULT,
  abort: { http_status: status, percentage: { numerator: 100, denominator: 'HUNDRED' } },
});
const slow = (ms: number): AnyMessage => ({
  '@type': FAULT,
  delay: { fixed_delay: `${ms / 1000}s`, percentage: { numerator: 100, denominator: 'HUNDRED' } },
});
const discovered = (more: Partial<ExtensionConfigSource> = {}): Listener =>
  listener(
    'in',
    hcm([toCluster('a')], {
      http_filters: [{ name: 'mine', config_discovery: { config_source: { ads: {} }, type_urls: [FAULT], ...more } }, ROUTER],
    }),
  );

interface Rig extends AsyncDisposable {
  readonly control: FakeControl;
  readonly plane: Plane;
  readonly clock: ManualClock;
  status(): Promise<number>;
  give(config: AnyMessage | undefined): Promise<void>;
}

const rig = async (of: Listener): Promise<Rig> => {
  const backend = await httpBackend(() => 'hello');
  const plane = await startPlane({});
  const control = new FakeControl();
  const clock = new ManualClock();
  control.set(CLUSTER_TYPE, [staticCluster('a', [backend.port])]);
  control.set(LISTENER_TYPE, [of]);
  const subscriptions = new Subscriptions({
    bootstrap: dynamicBootstrap(),
    node: () => ({}),
    dataPlane: plane.plane,
    transport: () => control,
    rejectUnknownFields: false,
    clock,
    random: () => 0.5,
    log: createLog(
      't',
      () => {},
      () => new Date(0),
    ),
  });
  subscriptions.start();
  const until = async (): Promise<void> => {
    await settle();
    await plane.plane.settled();
    await settle();
  };
  await until();
  return {
    control,
    plane,
    clock,
    status: async () => (await fetchOnce(plane.port('in'), '/')).status,
    give: async (config) => {
      control.set(EXTENSION_TYPE, config === undefined ? [] : [{ name: 'mine', typed_config: config }]);
      control.push();
      await until();
    },
    [Symbol.asyncDispose]: async () => {
      subscriptions.close();
      await plane[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
};

describe('filters whose configuration comes by name', () => {
  test('a listener waits for the configuration of its filter, and follows each later one', async () => {
    await using r = await rig(discovered());
    assert.equal([...r.plane.plane.listeners()][0]?.warm, false);
    await r.give(abort(418));
    assert.equal(await r.status(), 418);
    await r.give(abort(451));
    assert.equal(await r.status(), 451);
    assert.ok(r.control.outcomes.every((o) => !o.startsWith('nack')));
  });

  test('a connection and the request on it live on when the configuration changes', async () => {
    await using r = await rig(discovered());
    await r.give(slow(400));
    const socket = connect(r.plane.port('in'), '127.0.0.1');
    let heard = '';
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
    });
    await once(socket, 'connect');
    await eventually(() => [...r.plane.plane.listeners()][0]?.activeConnections === 1, 'the connection is served');
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await r.give(abort(418));
    await eventually(() => heard.includes('hello'), 'the request that had begun is answered as it began');
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await eventually(() => heard.includes(' 418 '), 'the next one on the connection meets the new configuration');
    socket.destroy();
  });

  test('what the filter cannot be is refused by name, and what was there stands', async () => {
    await using r = await rig(discovered());
    await r.give(abort(418));
    await r.give({ '@type': CORS });
    assert.match(r.control.outcomes.at(-1) ?? '', /^nack mine: typed_config: .*Cors is none of the filter's type_urls/);
    await r.give({ '@type': FAULT, abort: { http_status: 99, percentage: { numerator: 100, denominator: 'HUNDRED' } } });
    assert.match(r.control.outcomes.at(-1) ?? '', /^nack mine: typed_config\./);
    assert.equal(await r.status(), 418);
  });

  test('a default without warming serves at once, and again when the configuration is gone', async () => {
    await using r = await rig(discovered({ default_config: abort(410), apply_default_config_without_warming: true }));
    assert.equal(await r.status(), 410);
    await r.give(abort(418));
    assert.equal(await r.status(), 418);
    r.plane.plane.removeExtension('mine');
    assert.equal(await r.status(), 410);
  });

  test('after the fetch timeout the default serves; without one requests are answered 500', async () => {
    await using withDefault = await rig(discovered({ default_config: abort(410) }));
    withDefault.clock.advance(15_000);
    await withDefault.plane.plane.settled();
    assert.equal(await withDefault.status(), 410);
    await using without = await rig(discovered());
    without.clock.advance(15_000);
    await without.plane.plane.settled();
    assert.equal(await without.status(), 500);
    assert.equal(without.plane.http.at(-1)?.flags, 'NFCF');
    await without.give(abort(418));
    assert.equal(await without.status(), 418);
  });

  test('a filter that cannot come by name is refused with its listener', async () => {
    await using r = await rig(discovered({ type_urls: ['type.googleapis.com/stats.PluginConfig'] }));
    assert.ok(r.control.outcomes.some((o) => o.startsWith('nack') && o.includes('config_discovery.type_urls')));
    await using noTypes = await rig(discovered({ type_urls: [] }));
    assert.ok(noTypes.control.outcomes.some((o) => o.includes('type_urls: at least one is required')));
  });
});
