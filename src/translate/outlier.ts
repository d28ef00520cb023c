// Outlier detection of a cluster. Istio switches Envoy's success-rate ejection off and enforces what is asked for always.

import type { OutlierDetection } from '../api/specs.ts';
import type { OutlierDetection as EnvoyOutlierDetection } from '../xds/gen/types.ts';

const enforced = (count: number): number => (count > 0 ? 100 : 0);

export const outlierDetection = (o: OutlierDetection): EnvoyOutlierDetection => ({
  enforcing_success_rate: 0,
  ...(o.consecutive5xxErrors === undefined
    ? {}
    : { consecutive_5xx: o.consecutive5xxErrors, enforcing_consecutive_5xx: enforced(o.consecutive5xxErrors) }),
  ...(o.consecutiveGatewayErrors === undefined
    ? {}
    : {
        consecutive_gateway_failure: o.consecutiveGatewayErrors,
        enforcing_consecutive_gateway_failure: enforced(o.consecutiveGatewayErrors),
      }),
  ...(o.interval === undefined ? {} : { interval: o.interval }),
  ...(o.baseEjectionTime === undefined ? {} : { base_ejection_time: o.baseEjectionTime }),
  ...(o.maxEjectionPercent === undefined || o.maxEjectionPercent === 0 ? {} : { max_ejection_percent: o.maxEjectionPercent }),
  ...(o.splitExternalLocalOriginErrors === true ? localOrigin(o) : {}),
});

const localOrigin = (o: OutlierDetection): EnvoyOutlierDetection => ({
  split_external_local_origin_errors: true,
  enforcing_local_origin_success_rate: 0,
  // Here a zero is not "off" but Envoy's default.
  ...((o.consecutiveLocalOriginFailures ?? 0) === 0
    ? {}
    : { consecutive_local_origin_failure: o.consecutiveLocalOriginFailures, enforcing_consecutive_local_origin_failure: 100 }),
});

/** Answers that count as failures where the rule lists them, in place of the proxy's own notion. */
export const countedAnswers = (o: OutlierDetection | undefined): Readonly<Record<string, unknown>> | undefined => {
  const codes = [...new Set(o?.outlierDetectionHttpErrorCodes ?? [])].sort((a, b) => a - b);
  if (codes.length === 0) return undefined;
  const rules = codes.map((code) => ({
    http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: String(code) } }] },
  }));
  return { error_matcher: rules.length === 1 ? rules[0] : { or_match: { rules } } };
};
