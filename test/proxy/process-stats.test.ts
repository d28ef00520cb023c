// What the process tells of itself: late turns are seen, and the first certificate to end counts.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { CertificateLife, watchLag } from '../../src/proxy/telemetry/process-stats.ts';
import { createAuthority } from './certificates.ts';

test('a turn that comes late is told with its lateness', () => {
  let now = 0;
  let due: () => void = () => {};
  const registry = new MetricRegistry();
  watchLag(registry, {
    monotonicMs: () => now,
    wallMs: () => now,
    after: (_, fire) => {
      due = fire;
      return () => {};
    },
  });
  for (const late of [0, 80, 0]) {
    now += 1000 + late;
    due();
  }
  const text = registry.render();
  assert.match(text, /skein_event_loop_lag_seconds_bucket\{le="0\.05"\} 2\n/);
  assert.match(text, /skein_event_loop_lag_seconds_bucket\{le="0\.1"\} 3\n/);
});

test('the first certificate to end counts, none at all is far away, a broken one is nobody’s', () => {
  const life = new CertificateLife();
  const day = 86_400_000;
  assert.equal(life.daysLeft([], 0), 4_294_967_295);
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  assert.equal(life.daysLeft([{ name: 'x', tls_certificate: { certificate_chain: { inline_string: broken } } }], 0), 4_294_967_295);
  const pem = createAuthority('root').pem;
  const notAfterMs = Date.parse(new X509Certificate(pem).validTo);
  const secrets = [{ name: 'x', tls_certificate: { certificate_chain: { inline_string: pem } } }];
  assert.equal(life.daysLeft(secrets, notAfterMs - 3.5 * day), 3);
  assert.equal(life.daysLeft(secrets, notAfterMs + day), 0);
});
