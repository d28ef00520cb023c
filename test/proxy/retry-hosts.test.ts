// Where attempts after the first go: not to hosts, canaries, marked hosts or priorities that the policy leaves out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, LbEndpoint, Route_RetryPolicy } from '../../src/xds/gen/types.ts';
import { fetchOnce, hcm, httpBackend, listener, startPlane, toCluster } from './harness.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.retry';
const bad = 'HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n';

const endpoint = (port: number, lb: { [key: string]: string | boolean } = {}): LbEndpoint => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
  metadata: { filter_metadata: { 'envoy.lb': lb } },
});
const cluster = (...priorities: LbEndpoint[][]): Cluster => ({
  name: 'c',
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: 'c',
    endpoints: priorities.map((lb_endpoints, priority) => ({ priority, lb_endpoints })),
  },
});
const tries = (policy: Route_RetryPolicy) =>
  listener(
    'l',
    hcm([toCluster('c', { retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.001s' }, ...policy } })]),
  );

test('a retry goes to a priority that was not tried', async () => {
  await using first = await httpBackend(() => bad);
  await using second = await httpBackend(() => 'second');
  const retry_priority = {
    name: 'envoy.retry_priorities.previous_priorities',
    typed_config: { '@type': `${TYPE}.priority.previous_priorities.v3.PreviousPrioritiesConfig`, update_frequency: 2 },
  };
  await using plane = await startPlane({
    clusters: [cluster([endpoint(first.port)], [endpoint(second.port)])],
    listeners: [tries({ num_retries: 2, retry_priority })],
  });
  assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'second');
  assert.equal(plane.http[0]?.attempts, 3); // twice at the first, as update_frequency has it
});

test('with every priority tried a retry may go to any', async () => {
  await using first = await httpBackend((n) => (n < 2 ? bad : 'first'));
  await using second = await httpBackend(() => bad);
  const retry_priority = {
    name: 'envoy.retry_priorities.previous_priorities',
    typed_config: { '@type': `${TYPE}.priority.previous_priorities.v3.PreviousPrioritiesConfig`, update_frequency: 1 },
  };
  await using plane = await startPlane({
    clusters: [cluster([endpoint(first.port)], [endpoint(second.port)])],
    listeners: [tries({ num_retries: 3, retry_priority })],
  });
  assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'first');
});

for (const [name, mark, typed_config] of [
  ['canaries', { canary: true }, { '@type': `${TYPE}.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate` }],
  [
    'hosts with some metadata',
    { zone: 'far' },
    {
      '@type': `${TYPE}.host.omit_host_metadata.v3.OmitHostMetadataConfig`,
      metadata_match: { filter_metadata: { 'envoy.lb': { zone: 'far' } } },
    },
  ],
] as const)
  test(`a retry leaves out ${name}`, async () => {
    await using marked = await httpBackend(() => bad);
    await using plain = await httpBackend(() => 'plain');
    await using plane = await startPlane({
      clusters: [cluster([endpoint(marked.port, mark), endpoint(plain.port)])],
      listeners: [tries({ host_selection_retry_max_attempts: 100, retry_host_predicate: [{ name, typed_config }] })],
    });
    for (let i = 0; i < 10; i++) assert.equal((await fetchOnce(plane.port('l'), '/')).body, 'plain');
    assert.ok(plane.http.some((logged) => logged.attempts === 2));
  });
