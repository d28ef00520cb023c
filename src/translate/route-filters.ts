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

const fault = (f: HttpFaultInjection): AnyMessage => ({
  '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
  ...(f.delay === undefined
    ? {}
    : {
        delay: {
          ...(f.delay.fixedDelay === undefined ? {} : { fixed_delay: f.delay.fixedDelay }),
          percentage: share(f.delay.percentage?.value, f.delay.percent),
        },
      }),
  ...(f.abort === undefined
    ? {}
    : {
        abort: {
          percentage: share(f.abort.percentage?.value, undefined),
          ...(f.abort.grpcStatus === undefined
            ? { http_status: f.abort.httpStatus ?? 0 }
            : { grpc_status: Math.max(0, GRPC_STATUS.indexOf(f.abort.grpcStatus)) }),
        },
      }),
});

/** Nothing said is no request at all. */
const share = (value: number | undefined, whole: number | undefined): FractionalPercent => {
  if (value !== undefined) return fraction(value);
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
