// What outlier detection has found and done, under Envoy's names.

import type { Stat, StatsStore } from '../stats-store.ts';

const REASONS = [
  'consecutive_5xx',
  'consecutive_gateway_failure',
  'consecutive_local_origin_failure',
  'success_rate',
  'local_origin_success_rate',
  'failure_percentage',
  'local_origin_failure_percentage',
] as const;
export type OutlierReason = (typeof REASONS)[number];

type ByReason = { readonly [R in OutlierReason]: Stat };

export class OutlierStats {
  readonly #detected: ByReason;
  readonly #enforced: ByReason;
  readonly #enforcedTotal: Stat;
  readonly #overflow: Stat;
  readonly #degradation: Stat;
  /** Envoy's older names, which count what is not enforced too. */
  readonly #total: Stat;
  readonly #consecutive5xx: Stat;
  readonly #successRate: Stat;

  constructor(store: StatsStore, statName: string) {
    const counter = (name: string) => store.counter(`cluster.${statName}.outlier_detection.ejections_${name}`);
    const byReason = (prefix: string) => Object.fromEntries(REASONS.map((r) => [r, counter(`${prefix}_${r}`)])) as ByReason;
    this.#detected = byReason('detected');
    this.#enforced = byReason('enforced');
    this.#enforcedTotal = counter('enforced_total');
    this.#overflow = counter('overflow');
    this.#degradation = counter('detected_degradation');
    this.#total = counter('total');
    this.#consecutive5xx = counter('consecutive_5xx');
    this.#successRate = counter('success_rate');
  }

  detected(reason: OutlierReason): void {
    this.#detected[reason].value++;
    if (reason === 'consecutive_5xx') this.#consecutive5xx.value++;
    else if (reason === 'success_rate') this.#successRate.value++;
  }
  degraded(): void {
    this.#degradation.value++;
  }
  /** There was room for one more. */
  allowed(reason: OutlierReason): void {
    if (reason === 'consecutive_5xx' || reason === 'success_rate') this.#total.value++;
  }
  overflowed(): void {
    this.#overflow.value++;
  }
  ejected(reason: OutlierReason): void {
    this.#enforced[reason].value++;
    this.#enforcedTotal.value++;
  }
}
