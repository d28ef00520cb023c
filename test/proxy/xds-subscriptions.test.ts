// The subscription manager between an in-process control plane and a data plane without sockets.
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { Subscriptions } from '../../src/proxy/xds/subscriptions.ts';
import type { Bootstrap } from '../../src/xds/gen/types.ts';
import { FakeDataPlane } from './xds-fake-data-plane.ts';
import { assignment, dynamicBootstrap, edsCluster, FakeControl, ManualClock, rdsListener, settle, TYPES } from './xds-fixture.ts';

const { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } = TYPES;

const rig = (bootstrap: Bootstrap = dynamicBootstrap(), options: { rejectUnknownFields?: boolean } = {}) => {
  const control = new FakeControl();
  const sds = new FakeControl();
  const dataPlane = new FakeDataPlane();
  const clock = new ManualClock();
  const lines: string[] = [];
  const subscriptions = new Subscriptions({
    bootstrap,
    node: () => bootstrap.node ?? {},
    dataPlane,
    transport: (name) => (name === 'sds-grpc' ? sds : control),
    rejectUnknownFields: options.rejectUnknownFields ?? false,
    clock,
    random: () => 0.5,
    log: createLog(
      't',
      (l) => lines.push(l),
      () => new Date(0),
    ),
  });
  return { control, sds, dataPlane, clock, lines, subscriptions };
};

const fill = (control: FakeControl): void => {
  control.set(CLUSTER_TYPE, [edsCluster('a')]);
  control.set(ENDPOINT_TYPE, [assignment('a')]);
  control.set(LISTENER_TYPE, [rdsListener('l', 'r')]);
  control.set(ROUTE_TYPE, [{ name: 'r' }]);
};

describe('xDS subscriptions', () => {
  test('clusters, their endpoints, then listeners, then their routes; then live', async () => {
    const { control, dataPlane, subscriptions } = rig();
    fill(control);
    subscriptions.start();
    assert.equal(subscriptions.live, false);
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster a', '+endpoints a', '+listener l', '+routes r']);
    assert.equal(subscriptions.live, true);
    await subscriptions.whenLive();
    assert.equal(control.methods.length, 1, 'one stream for all');
    subscriptions.close();
  });

  test('listeners are not asked for before the clusters are warm', async () => {
    const { control, dataPlane, subscriptions } = rig();
    fill(control);
    control.content.delete(ENDPOINT_TYPE.url);
    subscriptions.start();
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster a']);
    control.set(ENDPOINT_TYPE, [assignment('a')]);
    control.push();
    await settle();
    assert.equal(subscriptions.live, true);
    subscriptions.close();
  });

  test('initial_fetch_timeout: missing endpoints and routes are given up, start goes on', async () => {
    const { control, dataPlane, subscriptions, clock } = rig();
    fill(control);
    control.content.delete(ENDPOINT_TYPE.url);
    control.content.delete(ROUTE_TYPE.url);
    subscriptions.start();
    await settle();
    clock.advance(15_000);
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster a', '+endpoints a', '+listener l']);
    clock.advance(15_000);
    assert.equal(dataPlane.calls.at(-1), '+routes r');
    assert.equal(subscriptions.live, true);
    subscriptions.close();
  });

  test('a refused resource is named with its field, its neighbours are taken, the last good stays', async () => {
    const { control, dataPlane, subscriptions } = rig();
    fill(control);
    subscriptions.start();
    await settle();
    dataPlane.calls.length = 0;
    control.set(CLUSTER_TYPE, [
      edsCluster('a', { alt_stat_name: 'bad' }),
      { name: 'b', type: 'STATIC' },
      { name: 'c', alt_stat_name: 'bad' },
    ]);
    control.push();
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster b']);
    assert.ok(dataPlane.clusterMap.has('a'));
    assert.ok(control.outcomes.includes('nack a: alt_stat_name: is bad\nc: alt_stat_name: is bad'), control.outcomes.join());
    assert.equal(subscriptions.store.record(CLUSTER_TYPE.url, 'a')?.refusal?.details, 'alt_stat_name: is bad');
    assert.equal(dataPlane.stats.counter('cluster_manager.cds.update_rejected').value, 1);
    subscriptions.close();
  });

  test('an equal resource is not applied again; a missing one is removed with what it named', async () => {
    const { control, dataPlane, subscriptions } = rig();
    fill(control);
    subscriptions.start();
    await settle();
    dataPlane.calls.length = 0;
    control.set(CLUSTER_TYPE, [edsCluster('a'), edsCluster('b')]);
    control.set(ENDPOINT_TYPE, [assignment('a'), assignment('b')]);
    control.push();
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster b', '+endpoints b']);
    dataPlane.calls.length = 0;
    control.set(CLUSTER_TYPE, [edsCluster('b')]);
    control.set(LISTENER_TYPE, []);
    control.push();
    await settle();
    assert.deepEqual(dataPlane.calls.sort(), ['-cluster a', '-listener l', '-routes r']);
    assert.equal(subscriptions.store.record(ENDPOINT_TYPE.url, 'a'), undefined);
    subscriptions.close();
  });

  test('a lost stream is opened again with back-off, and what is configured stays', async () => {
    const { control, dataPlane, subscriptions, clock, lines } = rig();
    fill(control);
    subscriptions.start();
    await settle();
    dataPlane.calls.length = 0;
    control.refuse = true;
    control.drop();
    await settle();
    assert.equal(control.methods.length, 1);
    clock.advance(250); // half of 500 ms
    await settle();
    clock.advance(499); // less than half of 1,000 ms
    await settle();
    assert.equal(control.methods.length, 2);
    control.refuse = false;
    clock.advance(1);
    await settle();
    assert.equal(control.methods.length, 3);
    assert.deepEqual(dataPlane.calls, []);
    assert.equal(lines.filter((l) => l.includes('xDS stream ended')).length, 2);
    control.set(CLUSTER_TYPE, [edsCluster('a'), { name: 'new', type: 'STATIC' }]);
    control.push();
    await settle();
    assert.deepEqual(dataPlane.calls, ['+cluster new']);
    subscriptions.close();
  });

  test('secrets come over the service that their source names', async () => {
    const { control, sds, dataPlane, subscriptions } = rig();
    fill(control);
    dataPlane.secretSources.set('default', {
      api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }] },
    });
    sds.set(SECRET_TYPE, [{ name: 'default' }, { name: 'other' }]);
    subscriptions.start();
    await settle();
    assert.deepEqual(sds.methods, ['/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets']);
    assert.deepEqual([...dataPlane.secretMap.keys()], ['default']);
    assert.equal(subscriptions.live, true);
    subscriptions.close();
  });

  test('static resources come first, are never replaced, and a bad one is thrown by name', async () => {
    const r = rig(dynamicBootstrap({ static_resources: { clusters: [{ name: 'a', type: 'STATIC' }] } }));
    fill(r.control);
    r.subscriptions.start();
    await settle();
    assert.equal(r.dataPlane.clusterMap.get('a')?.type, 'STATIC');
    r.control.set(CLUSTER_TYPE, []);
    r.control.push();
    await settle();
    assert.ok(r.dataPlane.clusterMap.has('a'));
    r.subscriptions.close();
    const bad = rig({ static_resources: { clusters: [{ name: 'x', alt_stat_name: 'bad' }] } });
    assert.throws(() => bad.subscriptions.start(), /static_resources: CDS x: alt_stat_name: is bad/);
  });

  test('unknown fields are counted, or refused when asked for', async () => {
    const withUnknown = (control: FakeControl): void => {
      fill(control);
      control.set(CLUSTER_TYPE, [{ name: 'u', type: 'STATIC' }]);
      const content = control.content.get(CLUSTER_TYPE.url);
      assert.ok(content);
      const resources = new Map(
        [...content.resources].map(([name, r]) => [name, { ...r, bytes: new Uint8Array([...r.bytes, 0xfa, 0xff, 0x01, 0x01, 0x78]) }]),
      );
      control.content.set(CLUSTER_TYPE.url, { ...content, resources });
    };
    const lenient = rig();
    withUnknown(lenient.control);
    lenient.subscriptions.start();
    await settle();
    assert.equal(lenient.dataPlane.stats.counter('server.dynamic_unknown_fields').value, 1);
    assert.equal(lenient.subscriptions.live, true);
    lenient.subscriptions.close();
    const strict = rig(dynamicBootstrap(), { rejectUnknownFields: true });
    withUnknown(strict.control);
    strict.subscriptions.start();
    await settle();
    assert.match(strict.control.outcomes.join('\n'), /nack u: .*is not known/);
    strict.subscriptions.close();
  });

  test('a source that cannot be followed is refused by field', () => {
    const { subscriptions } = rig(
      dynamicBootstrap({ dynamic_resources: { cds_config: { api_config_source: { api_type: 'REST', cluster_names: ['x'] } } } }),
    );
    assert.throws(() => subscriptions.start(), /dynamic_resources.cds_config.api_config_source.api_type: REST is not supported/);
  });
});

describe('file sources', () => {
  test('resources from a file, again when it is moved into place', { timeout: 120_000 }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-file-'));
    const path = join(dir, 'cds.json');
    const save = (...names: string[]): void => {
      const resources = names.map((name) => ({ '@type': CLUSTER_TYPE.url, name, type: 'STATIC' }));
      writeFileSync(`${path}.tmp`, JSON.stringify({ version_info: names.join(), resources }));
      renameSync(`${path}.tmp`, path);
    };
    save('a');
    const { dataPlane, subscriptions } = rig({ dynamic_resources: { cds_config: { path_config_source: { path } } } });
    const has = (name: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (dataPlane.clusterMap.has(name)) resolve();
          else setTimeout(look, 5);
        };
        look();
      });
    subscriptions.start();
    await has('a');
    save('b');
    await has('b');
    assert.deepEqual(dataPlane.calls, ['+cluster a', '+cluster b', '-cluster a']);
    subscriptions.close();
    rmSync(dir, { recursive: true });
  });
});
