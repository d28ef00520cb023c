// Turns of pushes: known proxies are not held up by any number of new ones, whoever has left is served nothing, nobody is served twice; and
// what was made for proxies that have left does not stay for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIECES_KEPT_MIN } from '../../../src/control/limits.ts';
import { PieceCache } from '../../../src/control/xds/piece-cache.ts';
import { PushQueue } from '../../../src/control/xds/push-queue.ts';
import type { Snapshot } from '../../../src/mesh/snapshot.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';
import { fakePipeline } from '../fake-pipeline.ts';
import { eventually, startRig, XdsClient } from '../rig.ts';

const FRESH_MS = 7;
const KNOWN_MS = 1;

/** A clock that only work moves. */
const queue = (): { readonly queue: PushQueue<string>; readonly served: string[] } => {
  const served: string[] = [];
  let now = 0;
  const made = new PushQueue<string>(
    (item) => {
      served.push(item);
      now += item.startsWith('fresh') ? FRESH_MS : KNOWN_MS;
    },
    () => now,
  );
  return { queue: made, served };
};

test('known ones and new ones get the same time, in the order in which they came', async () => {
  const { queue: q, served } = queue();
  for (let i = 0; i < 100; i++) q.addFresh(`fresh ${i}`);
  q.add(Array.from({ length: 70 }, (_, i) => `known ${i}`));
  await eventually('all are served', () => q.length === 0);
  const lastKnown = served.indexOf('known 69');
  const before = served.slice(0, lastKnown).filter((s) => s.startsWith('fresh')).length;
  assert.ok(before >= 9 && before <= 11, `${before} new ones before the last known one`);
  assert.deepEqual(
    served.filter((s) => s.startsWith('fresh')),
    Array.from({ length: 100 }, (_, i) => `fresh ${i}`),
  );
});

test('what new ones took while nobody else waited is no debt of theirs', async () => {
  const { queue: q, served } = queue();
  for (let i = 0; i < 50; i++) q.addFresh(`fresh ${i}`);
  await eventually('all are served', () => q.length === 0);
  q.add(Array.from({ length: 100 }, (_, i) => `known ${i}`));
  q.addFresh('fresh last');
  await eventually('all are served', () => q.length === 0);
  assert.ok(served.indexOf('fresh last') <= 52, 'it does not wait for all that are known');
});

test('who waits to be new is not refreshed as well, and who has left is served nothing', async () => {
  const { queue: q, served } = queue();
  q.addFresh('fresh a');
  q.addFresh('fresh b');
  q.add(['fresh a', 'known']);
  q.add(['known']);
  q.delete('fresh b');
  await eventually('all are served', () => q.length === 0);
  assert.deepEqual(served.sort(), ['fresh a', 'known']);
});

test('for proxies that leave before their turn nothing is made', async () => {
  const CLIENTS = 40;
  const fake = fakePipeline();
  const made = new Set<string>();
  const pipeline = {
    ...fake,
    translatePieces: (...[kind, piece]: Parameters<typeof fake.translatePieces>) => {
      piece('slow', (_, node) => {
        made.add(node.id);
        for (const until = performance.now() + 20; performance.now() < until; );
        return {};
      });
      return fake.translatePieces(kind, piece);
    },
  };
  const rig = await startRig(
    { 'a.yaml': 'kind: Service\nname: a\nspec: {}\n' },
    { pipeline, xds: ['127.0.0.1:0'], insecure: true, now: Date.now },
  );
  try {
    const clients = Array.from(
      { length: CLIENTS },
      (_, i) => new XdsClient(rig.controlPlane.xds[0] ?? '', { node: `sidecar~10.0.0.${i + 1}~w${i}.default~default.svc.cluster.local` }),
    );
    for (const c of clients) c.subscribe('CDS');
    await eventually('one is answered', () => clients.some((c) => c.received.length > 0));
    for (const c of clients) c.close();
    let left = -1;
    for (const until = Date.now() + 20_000; left !== 0; ) {
      left = ((await rig.admin('GET', '/v1/proxies')).body as unknown[]).length;
      assert.ok(Date.now() < until, `${left} are left`);
    }
    assert.ok(made.size < CLIENTS, `${made.size} of ${CLIENTS} were made`);
  } finally {
    await rig.close();
  }
});

test('what was made for nodes that come and go is kept for a few, and those asked for last stay', () => {
  const pieces = new PieceCache(() => PIECES_KEPT_MIN);
  pieces.turnTo({} as Snapshot);
  let made = 0;
  const ask = (id: string): void => {
    const keep = { piece: <T extends object>(piece: T): T => piece, part: (part: object) => part };
    pieces.get(
      'of a node',
      { id } as ProxyNode,
      (_, node) => {
        made++;
        return { id: node.id };
      },
      keep,
    );
  };
  for (let round = 0; round < 5; round++) {
    ask('stays');
    for (let i = 0; i < PIECES_KEPT_MIN - 1; i++) ask(`comes and goes ${round} ${i}`);
  }
  assert.equal(made, 1 + 5 * (PIECES_KEPT_MIN - 1));
  ask('comes and goes 0 0');
  assert.equal(made, 2 + 5 * (PIECES_KEPT_MIN - 1), 'it was forgotten');
});
