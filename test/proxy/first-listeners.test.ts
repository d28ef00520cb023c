// What hands connections to other listeners refuses them until all of the first listeners are warm.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fetchOnce, hcm, httpBackend, listener, startPlane, staticCluster, tcpProxy, toCluster } from './harness.ts';

test('a listener that hands on does not listen while another waits for its routes', async () => {
  await using backend = await httpBackend(() => 'routed');
  const filter = hcm([], { rds: { route_config_name: 'r', config_source: { ads: {} } } });
  const { route_config: _, ...waiting } = filter.typed_config as unknown as { route_config: unknown } & { '@type': string };
  await using plane = await startPlane(
    {
      clusters: [staticCluster('c', [backend.port]), { name: 'pass', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' }],
      listeners: [
        listener('out', tcpProxy('pass'), { use_original_dst: true }),
        listener('direct', hcm([toCluster('c')])),
        listener(
          'waits',
          { ...filter, typed_config: waiting },
          {
            address: { socket_address: { address: '10.96.0.1', port_value: 80 } },
            bind_to_port: false,
          },
        ),
      ],
    },
    { originalDestination: { of: () => ({ ip: '10.96.0.1', port: 80 }) } },
  );
  const bound = (name: string): boolean =>
    [...plane.plane.listeners()].some((l) => l.name === name && l.localAddress.split(':')[1] !== '0');
  assert.equal(bound('direct'), true, 'one that serves by itself listens at once');
  assert.equal(bound('out'), false);
  assert.equal(plane.plane.ready, false);
  plane.plane.setRoutes({ name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes: [toCluster('c')] }] });
  await plane.plane.settled();
  assert.equal(plane.plane.ready, true);
  assert.equal((await fetchOnce(plane.port('out'), '/')).body, 'routed');
});
