// What a request's own x-envoy-… headers make of its route's retry and hedge policy, as Envoy's router reads them. Whoever calls
// this lets them through from internal clients only. They are removed: they are meant for this hop.
import type { HeaderBlock } from '../wire/header-block.ts';
import { H } from '../wire/header-name.ts';
import type { RequestView } from './request-view.ts';
import { compileRetry, ON_ANY_GRPC, type ResponseMatch, type RetryPlan, retryOnBits } from './retry.ts';

/** What a request's headers add to when its route has no policy. */
const NO_POLICY: RetryPlan = compileRetry({});
/** RFC 9110 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);
const RETRY_HEADERS = [
  H.X_ENVOY_RETRY_ON,
  H.X_ENVOY_RETRY_GRPC_ON,
  H.X_ENVOY_MAX_RETRIES,
  H.X_ENVOY_RETRIABLE_STATUS_CODES,
  H.X_ENVOY_RETRIABLE_HEADER_NAMES,
];

/** The policy this request is tried again by; undefined: it is not, whatever comes back. */
export const requestRetry = (policy: RetryPlan | undefined, request: RequestView): RetryPlan | undefined => {
  const own = policy?.ofUnsafe !== undefined && !IDEMPOTENT.has(request.method) ? policy.ofUnsafe : policy;
  const plan = withHeaders(own, request.headers);
  if (plan === undefined || plan.requestHeaders.length === 0) return plan;
  return plan.requestHeaders.some((match) => match(request)) ? plan : undefined;
};

const withHeaders = (policy: RetryPlan | undefined, headers: HeaderBlock): RetryPlan | undefined => {
  const on = headers.getById(H.X_ENVOY_RETRY_ON);
  const grpcOn = headers.getById(H.X_ENVOY_RETRY_GRPC_ON);
  const most = headers.getById(H.X_ENVOY_MAX_RETRIES);
  const statuses = headers.getById(H.X_ENVOY_RETRIABLE_STATUS_CODES);
  const names = headers.getById(H.X_ENVOY_RETRIABLE_HEADER_NAMES);
  for (const id of RETRY_HEADERS) headers.removeById(id);
  if (policy === undefined && on === undefined && grpcOn === undefined) return undefined;
  if (on === undefined && grpcOn === undefined && most === undefined && statuses === undefined && names === undefined) return policy;
  const base = policy ?? NO_POLICY;
  const words = (text: string | undefined): string[] => (text ?? '').split(',').map((word) => word.trim());
  const named = words(names).filter((name) => name !== '');
  const codes = words(statuses).filter((code) => /^\d{3}$/.test(code));
  return {
    ...base,
    on: base.on | (retryOnBits(on) & ~ON_ANY_GRPC) | (retryOnBits(grpcOn) & ON_ANY_GRPC),
    numRetries: most !== undefined && /^\d{1,9}$/.test(most) ? Number(most) : base.numRetries,
    statusCodes: [...base.statusCodes, ...codes.map(Number)],
    responseHeaders: [
      ...base.responseHeaders,
      ...named.map(
        (name): ResponseMatch =>
          (block) =>
            block.has(name.toLowerCase()),
      ),
    ],
  };
};

/** x-envoy-hedge-on-per-try-timeout wins over the route. */
export const requestHedges = (route: boolean, headers: HeaderBlock): boolean => {
  const asked = headers.getById(H.X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT);
  if (asked === undefined) return route;
  headers.removeById(H.X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT);
  return asked === 'true' || (asked !== 'false' && route);
};
