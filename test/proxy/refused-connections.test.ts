// What a live sidecar tells its control plane of the connections that its filters refused, read by the control plane's own reader; and how
// much of a flood.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogIntake } from '../../src/control/telemetry/log-intake.ts';
import { RecentRequests } from '../../src/control/telemetry/recent-requests.ts';
import { RefusedConnections as Kept, type RefusedConnection } from '../../src/control/telemetry/refused-connections.ts';
import { SignalStore } from '../../src/control/telemetry/signal-store.ts';
import { Directory, NOBODY, type Speaker } from '../../src/control/telemetry/speaker.ts';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { systemClock } from '../../src/proxy/clock.ts';
import { UNKNOWN_PEER } from '../../src/proxy/telemetry/parties.ts';
import { RefusedConnections } from '../../src/proxy/telemetry/refused-connections.ts';
import { SummaryRecorder } from '../../src/proxy/telemetry/summary-recorder.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import type { Listener_Filter } from '../../src/xds/gen/types.ts';
import { chains, RawClient, startBackend, startPlane, staticCluster, tcpProxy } from './harness.ts';
import { ANY, policy } from './rbac-table.ts';

const NAME = 'ns[shop]-policy[no-one]-rule[0]';
const rbac: Listener_Filter = {
  name: 'envoy.filters.network.rbac',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
    stat_prefix: 'tcp.',
    rules: { action: 'DENY', policies: { [NAME]: policy(ANY) } },
  },
};

const speaker: Speaker = {
  proxy: 'ledger-0.shop',
  party: { ...NOBODY, workload: 'ledger', namespace: 'shop' },
  gateway: false,
  addresses: ['127.0.0.1'],
  deltas: true,
};

/** As the control plane reads it. */
const read = (bytes: Uint8Array | undefined): readonly RefusedConnection[] => {
  const refused = new Kept();
  const now = Date.now;
  const directory = new Directory({ instances: { list: () => [] }, trustDomain: () => 'cluster.local', now });
  const intake = new LogIntake({ store: new SignalStore(now()), requests: new RecentRequests(), refused, directory, now, counts: false });
  intake.take(
    bytes ?? new Uint8Array(),
    () => undefined,
    { ...speaker, counts: false },
    () => true,
  );
  return refused.find(undefined, 1000);
};

test('a connection that RBAC refused is told with both addresses and the policy, and one that was served is not', async () => {
  const refused = new RefusedConnections();
  const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: () => 0.5 });
  telemetry.summaries = new SummaryRecorder({ own: UNKNOWN_PEER, gateway: false, choice: undefined, refused });
  await using backend = await startBackend((socket, text) => socket.end(`echo ${text}`));
  const more = { traffic_direction: 'INBOUND' } as const;
  const listeners = [chains('no', [{ filters: [rbac, tcpProxy('app')] }], more), chains('yes', [{ filters: [tcpProxy('app')] }], more)];
  await using rig = await startPlane({ clusters: [staticCluster('app', [backend.port])], listeners }, { observer: telemetry });
  const served = await RawClient.open(rig.port('yes'));
  assert.equal(await served.send('hello').rest(), 'echo hello');
  served.close();
  const client = await RawClient.open(rig.port('no'));
  assert.equal(await client.send('hello').rest(), '');
  client.close();
  const told = read(refused.report());
  assert.deepEqual(
    told.map((t) => [t.proxy, t.local, t.details, t.destination.workload]),
    [['ledger-0.shop', `127.0.0.1:${rig.port('no')}`, `rbac_access_denied_matched_policy[${NAME}]`, 'ledger']],
  );
  assert.match(told[0]?.remote ?? '', /^127\.0\.0\.1:\d+$/);
  assert.equal(refused.report(), undefined);
});

test('of a flood the first ones of each report are told, and the others counted', () => {
  const refused = new RefusedConnections();
  const info = new StreamInfo();
  info.connectionTerminationDetails = 'rbac_access_denied_matched_policy[none]';
  for (let i = 0; i < 10_000; i++) {
    info.downstreamDirectRemoteAddress = `10.0.0.1:${i + 1}`;
    refused.offer(info);
  }
  const told = read(refused.report());
  assert.deepEqual([told.length, told.at(-1)?.remote, refused.passedOver], [50, '10.0.0.1:1', 9950]);
  const kept = new Kept();
  const [one] = told;
  assert.ok(one);
  for (let i = 0; i < 1500; i++) kept.add({ ...one, remote: `10.0.0.2:${i}` });
  assert.deepEqual(
    [kept.find(undefined, 5000).length, kept.find('10.0.0.2', 1)[0]?.remote, kept.find('10.0.0.2:0', 1).length],
    [1000, '10.0.0.2:1499', 0],
  );
});
