// envoy.config.route.v3.RouteAction.HashPolicy: what a consistent-hash balancer hashes, in order.
import type { RouteAction_HashPolicy } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import { PlanError } from './plan-error.ts';
import { compileSubstitution } from './regex.ts';
import type { HashPolicyPlan } from './route-plan.ts';

export const compileHashPolicy = (policy: RouteAction_HashPolicy, path: string): HashPolicyPlan => {
  const terminal = policy.terminal === true;
  if (policy.header !== undefined) {
    const rewrite = policy.header.regex_rewrite;
    return {
      kind: 'header',
      terminal,
      name: required(policy.header.header_name, `${path}.header.header_name`).toLowerCase(),
      rewrite: rewrite === undefined ? undefined : compileSubstitution(rewrite, `${path}.header.regex_rewrite`),
    };
  }
  if (policy.cookie !== undefined) {
    return {
      kind: 'cookie',
      terminal,
      name: required(policy.cookie.name, `${path}.cookie.name`),
      ttlMs: durationMs(policy.cookie.ttl),
      path: policy.cookie.path ?? '',
      attributes: (policy.cookie.attributes ?? []).map((a) => ({ name: a.name ?? '', value: a.value ?? '' })),
    };
  }
  if (policy.connection_properties !== undefined) {
    if (policy.connection_properties.source_ip !== true)
      throw new PlanError(`${path}.connection_properties`, 'source_ip is the only property');
    return { kind: 'source-ip', terminal };
  }
  if (policy.query_parameter !== undefined)
    return { kind: 'query', terminal, name: required(policy.query_parameter.name, `${path}.query_parameter.name`) };
  if (policy.filter_state !== undefined)
    return { kind: 'filter-state', terminal, key: required(policy.filter_state.key, `${path}.filter_state.key`) };
  throw new PlanError(path, 'no hash policy is set');
};

const required = (text: string | undefined, path: string): string => {
  if (text === undefined || text === '') throw new PlanError(path, 'is required');
  return text;
};
