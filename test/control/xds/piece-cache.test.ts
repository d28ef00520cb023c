// What a cache of pieces holds of what nodes say.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PieceCache } from '../../../src/control/xds/piece-cache.ts';
import type { Snapshot } from '../../../src/mesh/snapshot.ts';
import type { ProxyNode } from '../../../src/translate/proxy-node.ts';

const MB = 1024 * 1024;
const KEPT = 10;
const NODES = 300;

/** After everything that is garbage went. */
const heapUsed = (): number => {
  const bun = (globalThis as { readonly Bun?: { gc(force: boolean): void } }).Bun;
  if (bun === undefined) {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  } else bun.gc(true);
  return process.memoryUsage().heapUsed;
};

const announcing = (types: readonly string[]): ProxyNode => ({ extensionTypes: new Set(types) }) as Partial<ProxyNode> as ProxyNode;

const asking = (pieces: PieceCache): ((node: ProxyNode) => object) => {
  const keep = { piece: <T extends object>(piece: T): T => piece, part: (part: object) => part };
  return (node) => pieces.get('of extensions', node, (_, { extensionTypes }) => ({ known: extensionTypes.has('a') }), keep);
};

test('nodes that announce the same extensions share a piece, in whatever order they say them', () => {
  const pieces = new PieceCache(() => KEPT);
  pieces.turnTo({} as Snapshot);
  const ask = asking(pieces);
  const first = ask(announcing(['a', 'b']));
  assert.equal(ask(announcing(['b', 'a'])), first);
  assert.notEqual(ask(announcing(['b'])), first);
});

test('of extensions that nodes have announced and are gone with, nothing stays', () => {
  const pieces = new PieceCache(() => KEPT);
  pieces.turnTo({} as Snapshot);
  const ask = asking(pieces);
  const before = heapUsed();
  for (let i = 0; i < NODES; i++) ask(announcing(Array.from({ length: 10 }, (_, n) => `${i} ${n} ${'x'.repeat(20 * 1024)}`)));
  const grown = heapUsed() - before;
  assert.ok(grown < 20 * MB, `${Math.round(grown / MB)} MB of ${NODES} nodes' extensions are kept`);
  ask(announcing(['a']));
});
