// Retry policies of outbound and inbound routes.

import type { HttpRetry } from '../api/specs.ts';
import { IDEMPOTENT_RETRIES_TYPE } from '../xds/client-features.ts';
import type { Route, Route_RetryPolicy } from '../xds/gen/types.ts';

/** Istio's default, on every route that says nothing: two more tries where a request cannot have been served. */
const DEFAULT_RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled';
const DEFAULT_ATTEMPTS = 2;
const HOST_SELECTION_MAX = 5;
const RETRIABLE_CODES = 'retriable-status-codes';

const PREVIOUS_HOSTS = {
  name: 'envoy.retry_host_predicates.previous_hosts',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate' },
};
const PREVIOUS_PRIORITIES = {
  name: 'envoy.retry_priorities.previous_priorities',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
    update_frequency: 2,
  },
};

/** Before anything was sent to the application a try costs nothing. */
const INBOUND_RETRY: Route_RetryPolicy = { retry_on: 'reset-before-request', num_retries: 2 };

/** Of a sidecar towards its own application; `policy` is the mesh's. Zero attempts are none. */
export const inboundRetry = (policy: HttpRetry | undefined): { readonly retry_policy?: Route_RetryPolicy } => {
  if (policy === undefined) return { retry_policy: INBOUND_RETRY };
  const attempts = policy.attempts ?? 0;
  if (attempts <= 0) return {};
  const { on, codes } = (policy.retryOn ?? '') === '' ? { on: INBOUND_RETRY.retry_on, codes: [] } : retryOn(policy.retryOn);
  return {
    retry_policy: {
      retry_on: on,
      num_retries: attempts,
      ...(codes.length === 0 ? {} : { retriable_status_codes: codes }),
      ...(policy.backoff === undefined ? {} : { retry_back_off: { base_interval: policy.backoff } }),
    },
  };
};

/** `retries` is the route's, else the mesh's default; undefined stands for Istio's own. Undefined result: no retries. */
export const retryPolicy = (retries: HttpRetry | undefined, hashed: boolean): Route_RetryPolicy | undefined => {
  // Hashing would find the same host again, so it is not forbidden unless a rule says so.
  const avoid = (retries?.retryIgnorePreviousHosts ?? !hashed) ? { retry_host_predicate: [PREVIOUS_HOSTS] } : {};
  if (retries === undefined) {
    return {
      retry_on: `${DEFAULT_RETRY_ON},${RETRIABLE_CODES}`,
      num_retries: DEFAULT_ATTEMPTS,
      ...avoid,
      host_selection_retry_max_attempts: HOST_SELECTION_MAX,
    };
  }
  const attempts = retries.attempts ?? 0;
  if (attempts <= 0) return undefined;
  const { on, codes } = retryOn(retries.retryOn);
  return {
    retry_on: on,
    num_retries: attempts,
    ...(retries.perTryTimeout === undefined ? {} : { per_try_timeout: retries.perTryTimeout }),
    ...(retries.retryRemoteLocalities === true ? { retry_priority: PREVIOUS_PRIORITIES } : {}),
    ...avoid,
    host_selection_retry_max_attempts: HOST_SELECTION_MAX,
    ...(codes.length === 0 ? {} : { retriable_status_codes: codes }),
    ...(retries.backoff === undefined ? {} : { retry_back_off: { base_interval: retries.backoff } }),
  };
};

/** Skein's own predicate, which its proxy alone knows. */
const IDEMPOTENT_ONLY = {
  name: IDEMPOTENT_RETRIES_TYPE,
  typed_config: {
    '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
    type_url: `type.googleapis.com/${IDEMPOTENT_RETRIES_TYPE}`,
    value: {},
  },
};

/** The route with retries of idempotent requests alone, once bytes were sent. */
export const idempotentOnly = (route: Route): Route => {
  const retry = route.route?.retry_policy;
  if (retry === undefined) return route;
  return { ...route, route: { ...route.route, retry_policy: { ...retry, retry_options_predicates: [IDEMPOTENT_ONLY] } } };
};

const retryOn = (text: string | undefined): { readonly on: string; readonly codes: readonly number[] } => {
  if (text === undefined || text === '') return { on: `${DEFAULT_RETRY_ON},${RETRIABLE_CODES}`, codes: [] };
  const codes: number[] = [];
  const conditions: string[] = [];
  for (const part of text.split(',').map((p) => p.trim())) {
    if (/^[1-5]\d\d$/.test(part)) codes.push(Number(part));
    else if (part !== '') conditions.push(part);
  }
  if (codes.length > 0 && !conditions.includes(RETRIABLE_CODES)) conditions.push(RETRIABLE_CODES);
  return { on: conditions.join(','), codes };
};
