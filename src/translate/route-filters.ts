// What a route tells filters: faults and CORS, as per-route configuration.

import type { CorsPolicy, HttpFaultInjection, HttpRoute } from '../api/specs.ts';
import type { AnyMessage, FractionalPercent, Route } from '../xds/gen/types.ts';

const GRPC_STATUS: readonly string[] = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

/** A millionth is the finest share Envoy knows. */
export const fraction = (percent: number | undefined): FractionalPercent => {
  const numerator = Math.trunc((percent ?? 0) * 10_000);
  return { ...(numerator === 0 ? {} : { numerator }), denominator: 'MILLION' };
};

export const perRouteFilters = (rule: HttpRoute): Route => {
  const filters: Record<string, AnyMessage> = {};
  if (rule.fault !== undefined) filters['envoy.filters.http.fault'] = fault(rule.fault);
  if (rule.corsPolicy !== undefined) filters['envoy.filters.http.cors'] = cors(rule.corsPolicy);
  return Object.keys(filters).length === 0 ? {} : { typed_per_filter_config: filters };
};

/** A delay or an abort that does not say which is none: Envoy would refuse it. */
const fault = ({ delay, abort }: HttpFaultInjection): AnyMessage => {
  const status = abortStatus(abort);
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
    ...(delay?.fixedDelay === undefined
      ? {}
      : { delay: { fixed_delay: delay.fixedDelay, percentage: share(delay.percentage, delay.percent) } }),
    ...(abort === undefined || status === undefined ? {} : { abort: { percentage: share(abort.percentage, undefined), ...status } }),
  };
};

const abortStatus = (abort: HttpFaultInjection['abort']): Readonly<Record<string, number>> | undefined => {
  if (abort?.grpcStatus !== undefined) return { grpc_status: Math.max(0, GRPC_STATUS.indexOf(abort.grpcStatus)) };
  return abort?.httpStatus === undefined ? undefined : { http_status: abort.httpStatus };
};

/** Nothing said is no request at all. */
const share = (percentage: { readonly value?: number | undefined } | undefined, whole: number | undefined): FractionalPercent => {
  if (percentage !== undefined) return fraction(percentage.value);
  return whole === undefined || whole === 0 ? {} : { numerator: whole };
};

const cors = (c: CorsPolicy): AnyMessage => {
  const origins = c.allowOrigins ?? (c.allowOrigin ?? []).map((exact) => ({ exact }));
  const list = (values: readonly string[] | undefined): string | undefined =>
    values === undefined || values.length === 0 ? undefined : values.join(',');
  return {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
    allow_origin_string_match: origins.map(
      (o: { readonly exact?: string | undefined; readonly prefix?: string | undefined; readonly regex?: string | undefined }) =>
        o.exact !== undefined
          ? { exact: o.exact }
          : o.prefix !== undefined
            ? { prefix: o.prefix }
            : { safe_regex: { regex: o.regex ?? '' } },
    ),
    ...defined({ allow_methods: list(c.allowMethods), allow_headers: list(c.allowHeaders), expose_headers: list(c.exposeHeaders) }),
    ...(c.maxAge === undefined ? {} : { max_age: String(Math.trunc(Number.parseFloat(c.maxAge))) }),
    ...(c.allowCredentials === undefined ? {} : { allow_credentials: c.allowCredentials }),
    filter_enabled: { default_value: { numerator: 100 } },
    forward_not_matching_preflights: c.unmatchedPreflights !== 'IGNORE',
  };
};

const defined = (o: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(o).filter((e): e is [string, string] => e[1] !== undefined));
