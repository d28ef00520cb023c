// Outlier ejection by share of good answers over one interval, Envoy's arithmetic: a host far below the mean of its cluster
// (success rate), or above a fixed share of failures (failure percentage). Pure; who calls ejects and counts anew.

import { PlanError } from '../../plan/plan-error.ts';
import type { OutlierDetection } from '../../xds/gen/types.ts';
import type { AnswerCount } from './host-state.ts';

export interface RatePolicy {
  readonly enforceSuccessRate: number;
  readonly enforceFailurePercentage: number;
  readonly successRateHosts: number;
  readonly successRateVolume: number;
  /** Standard deviations below the mean. */
  readonly deviations: number;
  readonly failureThreshold: number;
  readonly failureHosts: number;
  readonly failureVolume: number;
}

const rates = (config: OutlierDetection, success: number | undefined, failure: number | undefined): RatePolicy => ({
  enforceSuccessRate: success ?? 100,
  enforceFailurePercentage: failure ?? 0,
  successRateHosts: config.success_rate_minimum_hosts ?? 5,
  successRateVolume: config.success_rate_request_volume ?? 100,
  deviations: (config.success_rate_stdev_factor ?? 1900) / 1000,
  failureThreshold: config.failure_percentage_threshold ?? 85,
  failureHosts: config.failure_percentage_minimum_hosts ?? 5,
  failureVolume: config.failure_percentage_request_volume ?? 50,
});

/** `local`: failures seen from here; counted apart only when split_external_local_origin_errors is set. */
export const compileRates = (config: OutlierDetection): { readonly external: RatePolicy; readonly local: RatePolicy } => {
  if ((config.failure_percentage_threshold ?? 0) > 100)
    throw new PlanError('outlier_detection.failure_percentage_threshold', 'must not be above 100');
  return {
    external: rates(config, config.enforcing_success_rate, config.enforcing_failure_percentage),
    local: rates(config, config.enforcing_local_origin_success_rate, config.enforcing_failure_percentage_local_origin),
  };
};

type RateKind = 'success_rate' | 'failure_percentage';

/** Indexes of the counts whose hosts are to be ejected, each with the percentage by which that is enforced. */
export const rateOutliers = (
  policy: RatePolicy,
  counts: readonly AnswerCount[],
): { readonly index: number; readonly kind: RateKind; readonly percent: number }[] => {
  const found: { index: number; kind: RateKind; percent: number }[] = [];
  const share = (count: AnswerCount): number => (100 * count.good) / count.all;
  const bySuccess = counts.filter((c) => c.all > 0 && c.all >= policy.successRateVolume);
  if (policy.enforceSuccessRate > 0 && bySuccess.length > 0 && bySuccess.length >= policy.successRateHosts) {
    const mean = bySuccess.reduce((sum, c) => sum + share(c), 0) / bySuccess.length;
    const variance = bySuccess.reduce((sum, c) => sum + (share(c) - mean) ** 2, 0) / bySuccess.length;
    const threshold = mean - policy.deviations * Math.sqrt(variance);
    counts.forEach((c, index) => {
      if (bySuccess.includes(c) && share(c) < threshold) found.push({ index, kind: 'success_rate', percent: policy.enforceSuccessRate });
    });
  }
  const byFailure = counts.filter((c) => c.all > 0 && c.all >= policy.failureVolume);
  if (policy.enforceFailurePercentage > 0 && byFailure.length > 0 && byFailure.length >= policy.failureHosts)
    counts.forEach((c, index) => {
      if (byFailure.includes(c) && 100 - share(c) >= policy.failureThreshold)
        found.push({ index, kind: 'failure_percentage', percent: policy.enforceFailurePercentage });
    });
  return found;
};
