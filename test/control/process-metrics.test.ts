// The control plane's process in its metrics: under the names and kinds that every Prometheus client gives them.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { ControlMetrics } from '../../src/control/metric-registry.ts';
import { processMetrics } from '../../src/control/process-metrics.ts';

const numberOf = (page: string, name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(page)?.[1]);

test('memory, processor time, files and start are told as they are', () => {
  const metrics = new ControlMetrics();
  processMetrics(metrics, 1_800_000_000_000, 60);
  const first = metrics.text();
  assert.match(first, /^# TYPE process_cpu_seconds_total counter$/m);
  assert.match(first, /^# TYPE process_resident_memory_bytes gauge$/m);
  assert.equal(numberOf(first, 'process_start_time_seconds'), 1_799_999_940);
  assert.ok(numberOf(first, 'process_resident_memory_bytes') > 10_000_000);
  assert.ok(numberOf(first, 'process_virtual_memory_bytes') >= numberOf(first, 'process_resident_memory_bytes'));
  assert.ok(numberOf(first, 'process_max_fds') >= numberOf(first, 'process_open_fds'));
  const files = Array.from({ length: 5 }, () => openSync('/dev/null', 'r'));
  const { user, system } = process.cpuUsage();
  const second = metrics.text();
  const { user: userAfter, system: systemAfter } = process.cpuUsage();
  for (const fd of files) closeSync(fd);
  assert.equal(numberOf(second, 'process_open_fds') - numberOf(first, 'process_open_fds'), 5);
  const told = numberOf(second, 'process_cpu_seconds_total');
  assert.ok(told >= (user + system) / 1e6 - 1e-6 && told <= (userAfter + systemAfter) / 1e6 + 1e-6, String(told));
});
