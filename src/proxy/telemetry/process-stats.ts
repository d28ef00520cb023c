// What the process tells of itself beside traffic: how late the event loop is, how long its certificates last. Looked at now and then, or when
// somebody asks.
import { X509Certificate } from 'node:crypto';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { DataSource, Secret } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import { rootSources } from '../transport/spiffe-bundles.ts';

const LAG_MS = 1000;
const LAG_BOUNDS_S = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];

/** Once a second: by how much the turn that was due then came later. */
export const watchLag = (registry: MetricRegistry, clock: Clock): void => {
  const lag = registry
    .histogram('skein_event_loop_lag_seconds', 'How late a timer of the event loop fires, looked at once a second', LAG_BOUNDS_S)
    .series();
  let due = clock.monotonicMs() + LAG_MS;
  const look = (): void => {
    const now = clock.monotonicMs();
    lag.observe(Math.max(0, now - due) / 1000);
    due = now + LAG_MS;
    clock.after(LAG_MS, look);
  };
  clock.after(LAG_MS, look);
};

/** What Envoy tells without a certificate. */
const NEVER_DAYS = 4_294_967_295;
const DAY_MS = 86_400_000;

/** Whole days until the first certificate of the secrets ends, its own or one that is trusted; 0 when one has. */
export class CertificateLife {
  /** By PEM: parsing costs more than looking. */
  #ends = new Map<string, number>();

  daysLeft(secrets: Iterable<Secret>, nowMs: number): number {
    const ends = new Map<string, number>();
    for (const { tls_certificate: own, validation_context: trusted } of secrets)
      for (const pem of [textOf(own?.certificate_chain), ...rootSources(trusted).map(textOf)])
        ends.set(pem, this.#ends.get(pem) ?? endOf(pem));
    this.#ends = ends;
    const first = Math.min(...ends.values());
    return first === Infinity ? NEVER_DAYS : Math.max(0, Math.floor((first - nowMs) / DAY_MS));
  }
}

const textOf = (source: DataSource | undefined): string =>
  source?.inline_string ?? (source?.inline_bytes ? Buffer.from(source.inline_bytes).toString('utf8') : '');

const endOf = (pem: string): number => {
  let first = Infinity;
  for (const [one] of pem.matchAll(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g)) {
    try {
      first = Math.min(first, Date.parse(new X509Certificate(one).validTo));
    } catch {
      // One that cannot be read is refused where it is used.
    }
  }
  return first;
};
