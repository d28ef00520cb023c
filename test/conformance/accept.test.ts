// What a real istiod was recorded to send is taken by a live data plane, but for what Envoy refuses too and what would be unsafe.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { acceptRecords, RECORDED_FILES } from './accept.ts';

const shared = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');
const oracle = join(shared, 'oracle');
const skip = RECORDED_FILES.every((name) => existsSync(join(oracle, name)))
  ? false
  : 'the recorded configurations (SKEIN_SHARED or ../shared) are not here';

const REFUSED: readonly RegExp[] = [
  // The presence form of a claim matcher has no pattern: Envoy refuses the whole configuration.
  /\.match\.dynamic_metadata\[\d+\]\..*string_match: no match pattern is set$/,
  // Envoy would send it on; the next hop could read one header as two.
  /_headers_to_add\[\d+\]\.header\.key: "[^"]* [^"]*" is not a header name$/,
];

test('every recorded answer is accepted, or refused for a reason that is named', { skip }, async () => {
  const certs = mkdtempSync(join(tmpdir(), 'skein-accept-'));
  try {
    assert.equal(spawnSync('bash', [join(oracle, 'make-certs.sh'), certs]).status, 0);
    const { records, resources, refusals } = await acceptRecords(oracle, certs);
    assert.deepEqual(
      refusals.filter(({ why }) => !REFUSED.some((reason) => reason.test(why))),
      [],
    );
    assert.ok(records > 250 && resources > 3500 && refusals.length < 10, JSON.stringify({ records, resources, refusals: refusals.length }));
  } finally {
    rmSync(certs, { recursive: true, force: true });
  }
});
