// A policy that changes while clients are connected. As in Envoy (measured on 1.40 with `--drain-strategy immediate`, Istio's): who is
// connected is decided by the old filter chain once more and told to leave with that answer; whoever comes is decided by the new one. A
// client over HTTP/2 is told at once here, where Envoy waits for its next answer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Listener } from '../../src/xds/gen/types.ts';
import { chains, hcm, RawClient, ROUTER, startPlane } from './harness.ts';
import { FRAME, rawClient } from './http2-peers.ts';

const deciding = (action: 'ALLOW' | 'DENY', more: Partial<Listener> = {}): Listener =>
  chains(
    'in',
    [
      {
        name: 'changes',
        filters: [
          hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }], {
            drain_timeout: '0.05s',
            http_filters: [
              {
                name: 'envoy.filters.http.rbac',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC',
                  rules: { action, policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } },
                },
              },
              ROUTER,
            ],
          }),
        ],
      },
    ],
    more,
  );
const statusOn = async (client: RawClient) => {
  const { status, headers } = await client.get('/');
  return [status, headers.get('connection') ?? 'stays'];
};

test('a client on an old connection is decided as before once, and told to leave; the next connection meets the new policy', async () => {
  await using plane = await startPlane({ listeners: [deciding('ALLOW')] });
  const old = await RawClient.open(plane.port('in'));
  assert.deepEqual(await statusOn(old), [200, 'stays']);
  plane.plane.setListener(deciding('DENY'));
  await plane.plane.settled();
  assert.deepEqual(await statusOn(old), [200, 'close']);
  await old.rest();
  const next = await RawClient.open(plane.port('in'));
  assert.deepEqual(await statusOn(next), [403, 'stays']);
  next.close();
});

test('a session over HTTP/2 is told to leave when its filter chain is replaced, and ends', async () => {
  await using plane = await startPlane({ listeners: [deciding('ALLOW')] });
  using session = await rawClient(plane.port('in'));
  assert.ok(await session.until((f) => f.type === FRAME.settings && f.flags === 1));
  plane.plane.setListener(deciding('DENY'));
  await plane.plane.settled();
  assert.ok(await session.until((f) => f.type === FRAME.goaway));
  await session.until(() => false);
  assert.equal(session.closed, true);
});

test('a connection of a filter chain that stays as it is goes on when another one changes', async () => {
  const both = (action: 'ALLOW' | 'DENY'): Listener => {
    const { filter_chains: kept = [], ...rest } = deciding('ALLOW');
    const [changed] = deciding(action).filter_chains ?? [];
    return { ...rest, filter_chains: [...kept, { ...changed, name: 'other', filter_chain_match: { destination_port: 1 } }] };
  };
  await using plane = await startPlane({ listeners: [both('ALLOW')] });
  const old = await RawClient.open(plane.port('in'));
  assert.deepEqual(await statusOn(old), [200, 'stays']);
  plane.plane.setListener(both('DENY'));
  await plane.plane.settled();
  assert.deepEqual(await statusOn(old), [200, 'stays']);
  old.close();
});
