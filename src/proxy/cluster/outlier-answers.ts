// Which answers outlier detection takes for failures, where HttpProtocolOptions say so (outlier_detection.error_matcher): a predicate
// over the answer's status and headers. Pure.

import { compileResponseMatcher } from '../../plan/header-matcher.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type { Cluster, MatchPredicate, UpstreamsHttp_HttpProtocolOptions } from '../../xds/gen/types.ts';

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

export type AnswerTest = (status: number, headers: HeaderBlock) => boolean;

/** undefined: it is the status alone. */
export const compileErrorAnswers = (cluster: Cluster): AnswerTest | undefined => {
  const options = cluster.typed_extension_protocol_options?.[OPTIONS] as UpstreamsHttp_HttpProtocolOptions | undefined;
  const matcher = options?.outlier_detection?.error_matcher;
  return matcher === undefined
    ? undefined
    : compile(matcher, `typed_extension_protocol_options.${OPTIONS}.outlier_detection.error_matcher`);
};

const compile = (config: MatchPredicate, path: string): AnswerTest => {
  const all = (rules: readonly MatchPredicate[] | undefined, name: string): AnswerTest[] =>
    (rules ?? []).map((r, i) => compile(r, `${path}.${name}.rules[${i}]`));
  if (config.or_match !== undefined) {
    const tests = all(config.or_match.rules, 'or_match');
    return (status, headers) => tests.some((test) => test(status, headers));
  }
  if (config.and_match !== undefined) {
    const tests = all(config.and_match.rules, 'and_match');
    return (status, headers) => tests.every((test) => test(status, headers));
  }
  if (config.not_match !== undefined) {
    const test = compile(config.not_match, `${path}.not_match`);
    return (status, headers) => !test(status, headers);
  }
  if (config.any_match === true) return () => true;
  const wanted = config.http_response_headers_match;
  if (wanted === undefined) throw new PlanError(path, 'only the headers of answers can be matched');
  const tests = (wanted.headers ?? []).map((m, i) => compileResponseMatcher(m, `${path}.http_response_headers_match.headers[${i}]`));
  return (status, headers) => tests.every((test) => test(headers, status));
};
