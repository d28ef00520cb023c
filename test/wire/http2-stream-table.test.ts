// The table of open streams answers as a Map would, whatever ids stay open.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Http2Stream } from '../../src/wire/http2-stream.ts';
import { Http2StreamTable } from '../../src/wire/http2-stream-table.ts';

const stream = (id: number): Http2Stream => ({ id }) as Http2Stream;

const same = (table: Http2StreamTable, model: ReadonlyMap<number, Http2Stream>, ids: readonly number[]): void => {
  assert.equal(table.size, model.size);
  for (const id of ids) assert.equal(table.get(id), model.get(id), `stream ${id}`);
  assert.deepEqual(
    table.all().map((s) => s.id),
    [...model.keys()].sort((a, b) => a - b),
  );
};

test('streams come and go in any order as in a Map', () => {
  const id = fc
    .oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: 0, max: 30 }).map((n) => n * 1024),
    )
    .map((n) => n * 2 + 1);
  fc.assert(
    fc.property(fc.array(id, { maxLength: 400 }), (ids) => {
      const table = new Http2StreamTable();
      const model = new Map<number, Http2Stream>();
      for (const each of ids) {
        const open = model.get(each);
        if (open) {
          table.remove(open);
          model.delete(each);
        } else {
          const made = stream(each);
          table.add(made);
          model.set(each, made);
        }
      }
      same(table, model, ids);
    }),
  );
});

test('a stream left open for long and thousands beside it are all found', () => {
  const table = new Http2StreamTable();
  const model = new Map<number, Http2Stream>();
  const add = (id: number): void => {
    const made = stream(id);
    table.add(made);
    model.set(id, made);
  };
  for (let id = 1; id < 6001; id += 2) add(id);
  add(1_000_001);
  same(table, model, [1, 5999, 1_000_001, 6001, 2]);
  for (const open of [...model.values()].slice(1)) {
    table.remove(open);
    model.delete(open.id);
  }
  same(table, model, [1, 3]);
  table.remove(stream(7));
  assert.equal(table.size, 1, 'removing what is not there changes nothing');
});
