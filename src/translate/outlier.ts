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
  ...(o.consecutiveLocalOriginFailures === undefined
    ? {}
    : {
        consecutive_local_origin_failure: o.consecutiveLocalOriginFailures,
        enforcing_consecutive_local_origin_failure: enforced(o.consecutiveLocalOriginFailures),
      }),
});
