// Access log messages as hostile sidecars may send them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogEntry, readAccessLogs } from '../../src/control/telemetry/log-reader.ts';
import { Writer } from '../../src/xds/wire-format.ts';

const message = (field: number, inside: Uint8Array): Uint8Array => {
  const w = new Writer();
  w.tag(field, 2);
  w.bytes(inside);
  return w.finish();
};

test('a time that no date can say does not keep anybody from being shown', () => {
  const seconds = Buffer.from([0x08, ...Array(8).fill(0xff), 0x7f]);
  // The begin of a request: http_logs, log_entry, common_properties, start_time.
  const bytes = [5, 1, 1, 2].reduce<Uint8Array>((inside, field) => message(field, inside), seconds);
  const entries: LogEntry[] = [];
  readAccessLogs(bytes, { identified: () => undefined, entry: (entry) => entries.push(entry) > 0 });
  assert.equal(entries.length, 1);
  assert.match(new Date(entries[0]?.startMs ?? 0).toISOString(), /^\+?\d+-/);
});
