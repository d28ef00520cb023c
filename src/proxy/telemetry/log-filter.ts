// Access log filters compiled to predicates. What cannot be decided here (tracing) is refused by name.

import type { CelPlace } from '../../plan/cel/attributes.ts';
import { compileCel } from '../../plan/cel/compile.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { FLAG_NAMES, type ResponseFlag } from '../../plan/response-flag.ts';
import type { StreamInfo } from '../../plan/stream-info.ts';
import { compileMetadataMatcher } from '../../plan/value-matcher.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type {
  AccessLogFilter,
  ComparisonFilter,
  ExpressionFilter,
  ExtensionFilter,
  FractionalPercent,
  HeaderMatcher,
  MetadataFilter,
} from '../../xds/gen/types.ts';
import { grpcStatusOf } from '../exchange/local-reply.ts';
import { configAs, typeNameOf } from '../extension-config.ts';

export type LogPredicate = (
  info: StreamInfo,
  request: HeaderBlock | undefined,
  response: HeaderBlock | undefined,
  trailers: HeaderBlock | undefined,
) => boolean;

/** Throws PlanError. `random` in [0, 1). */
export const compileLogFilter = (filter: AccessLogFilter, path: string, random: () => number, place?: CelPlace): LogPredicate => {
  if (filter.status_code_filter) {
    const compare = comparison(filter.status_code_filter.comparison, `${path}.status_code_filter.comparison`);
    return (info) => compare(info.responseCode);
  }
  if (filter.duration_filter) {
    const compare = comparison(filter.duration_filter.comparison, `${path}.duration_filter.comparison`);
    return (info) => compare(info.endTime - info.startTime);
  }
  if (filter.not_health_check_filter) return (info) => !info.healthCheck;
  if (filter.response_flag_filter) return responseFlags(filter.response_flag_filter.flags ?? [], `${path}.response_flag_filter.flags`);
  if (filter.header_filter) return headerFilter(filter.header_filter.header ?? {}, `${path}.header_filter.header`);
  if (filter.grpc_status_filter) return grpcStatus(filter.grpc_status_filter);
  if (filter.log_type_filter) {
    const types = new Set((filter.log_type_filter.types ?? []).map(String));
    const exclude = filter.log_type_filter.exclude ?? false;
    return (info) => types.has(info.accessLogType) !== exclude;
  }
  if (filter.runtime_filter) {
    const share = fraction(filter.runtime_filter.percent_sampled);
    return () => random() < share;
  }
  if (filter.and_filter) {
    const all = (filter.and_filter.filters ?? []).map((f, i) => compileLogFilter(f, `${path}.and_filter.filters[${i}]`, random, place));
    return (...facts) => all.every((p) => p(...facts));
  }
  if (filter.or_filter) {
    const any = (filter.or_filter.filters ?? []).map((f, i) => compileLogFilter(f, `${path}.or_filter.filters[${i}]`, random, place));
    return (...facts) => any.some((p) => p(...facts));
  }
  if (filter.metadata_filter) return metadataFilter(filter.metadata_filter, `${path}.metadata_filter`);
  if (filter.extension_filter) return extensionFilter(filter.extension_filter, `${path}.extension_filter`, place);
  const kind = Object.keys(filter)[0] ?? 'filter_specifier';
  throw new PlanError(`${path}.${kind}`, 'is not supported');
};

/** Dynamic metadata; where the value is not there, `match_if_key_not_found` decides, as in Envoy. */
const metadataFilter = ({ matcher, match_if_key_not_found: absent }: MetadataFilter, path: string): LogPredicate => {
  const otherwise = absent ?? true;
  if (matcher === undefined) return () => otherwise;
  // As Envoy: `invert` is not looked at.
  const { invert: _, ...rest } = matcher;
  const holds = compileMetadataMatcher(rest, `${path}.matcher`);
  const there = compileMetadataMatcher({ ...rest, value: { present_match: true } }, `${path}.matcher`);
  return ({ dynamicMetadata }) => (there(dynamicMetadata) ? holds(dynamicMetadata) : otherwise);
};

const CEL = 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter';
const extensionFilter = ({ name = '', typed_config: typed }: ExtensionFilter, path: string, place: CelPlace | undefined): LogPredicate => {
  const type = typeNameOf(typed);
  if (type !== CEL) throw new PlanError(`${path}.typed_config`, `access log filter ${name} (${type}) is not supported`);
  const { expression = '' } = configAs<ExpressionFilter>(typed, `${path}.typed_config`);
  const holds = compileCel(expression, `${path}.typed_config.expression`, place);
  return (info, request, response, trailers) => holds({ info, request, response, trailers });
};

const comparison = (filter: ComparisonFilter | undefined, path: string): ((n: number) => boolean) => {
  const value = filter?.value?.default_value ?? 0;
  switch (filter?.op ?? 'EQ') {
    case 'EQ':
      return (n) => n === value;
    case 'GE':
      return (n) => n >= value;
    case 'LE':
      return (n) => n <= value;
    default:
      throw new PlanError(`${path}.op`, `${String(filter?.op)} is not known`);
  }
};

const responseFlags = (names: readonly string[], path: string): LogPredicate => {
  if (names.length === 0) return (info) => info.hasAnyFlag();
  const flags = names.map((name, i) => {
    const flag = FLAG_NAMES.findIndex(([short]) => short === name);
    if (flag < 0) throw new PlanError(`${path}[${i}]`, `${name} is no response flag`);
    return flag as ResponseFlag;
  });
  return (info) => flags.some((f) => info.hasFlag(f));
};

const headerFilter = (matcher: HeaderMatcher, path: string): LogPredicate => {
  const name = (matcher.name ?? '').toLowerCase();
  const matches = valueMatcher(matcher, path);
  const invert = matcher.invert_match ?? false;
  const missing = matcher.treat_missing_header_as_empty ? '' : undefined;
  return (info, request) => {
    const value = pseudo(name, info) ?? request?.get(name) ?? missing;
    return matches(value) !== invert;
  };
};

const pseudo = (name: string, info: StreamInfo): string | undefined =>
  name === ':path' ? info.path : name === ':method' ? info.method : name === ':authority' ? info.authority : undefined;

const valueMatcher = (m: HeaderMatcher, path: string): ((value: string | undefined) => boolean) => {
  if (m.present_match !== undefined) return (v) => (v !== undefined) === m.present_match;
  const s = m.string_match ?? {
    exact: m.exact_match,
    prefix: m.prefix_match,
    suffix: m.suffix_match,
    contains: m.contains_match,
  };
  const fold = m.string_match?.ignore_case ? (v: string) => v.toLowerCase() : (v: string) => v;
  for (const [kind, test] of TESTS) {
    const wanted = s[kind];
    if (wanted === undefined) continue;
    const folded = fold(wanted);
    return (v) => v !== undefined && test(fold(v), folded);
  }
  const given = Object.keys(m.string_match ?? m).find((k) => k !== 'name' && k !== 'invert_match' && k !== 'treat_missing_header_as_empty');
  if (given === undefined) return (v) => v !== undefined;
  throw new PlanError(`${path}.${m.string_match ? 'string_match.' : ''}${given}`, 'is not supported in an access log filter');
};

const TESTS: readonly (readonly ['exact' | 'prefix' | 'suffix' | 'contains', (v: string, wanted: string) => boolean])[] = [
  ['exact', (v, wanted) => v === wanted],
  ['prefix', (v, wanted) => v.startsWith(wanted)],
  ['suffix', (v, wanted) => v.endsWith(wanted)],
  ['contains', (v, wanted) => v.includes(wanted)],
];

const GRPC_NAMES = [
  'OK',
  'CANCELED',
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

const grpcStatus = (filter: {
  readonly statuses?: readonly (string | number)[] | undefined;
  readonly exclude?: boolean | undefined;
}): LogPredicate => {
  const numbers = new Set((filter.statuses ?? []).map((s) => (typeof s === 'number' ? s : GRPC_NAMES.indexOf(s))));
  const exclude = filter.exclude ?? false;
  return (info, _request, response, trailers) => {
    const text = trailers?.get('grpc-status') ?? response?.get('grpc-status');
    // As Envoy: an answer that is not gRPC counts as its HTTP status does.
    return numbers.has(text === undefined ? grpcStatusOf(info.responseCode) : Number(text)) !== exclude;
  };
};

/** [0, 1] of a FractionalPercent. */
export const fraction = (p: FractionalPercent | undefined): number => {
  const denominator = p?.denominator === 'TEN_THOUSAND' ? 10_000 : p?.denominator === 'MILLION' ? 1_000_000 : 100;
  return (p?.numerator ?? 0) / denominator;
};
