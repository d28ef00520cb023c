// envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication: which requirement a request stands under. The first rule that takes
// it decides; where none does, a text in filter state may.
import type { JwtAuthentication, RequirementRule } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { withoutQuery } from '../query.ts';
import type { RequestView } from '../request-view.ts';
import { compileCriteria } from '../route-criteria.ts';
import { compileProvider, type JwtProvider } from './jwt-provider.ts';
import { compileRequirement, type JwtProviders, type Requirement } from './requirement.ts';

export interface JwtRules {
  readonly providers: readonly JwtProvider[];
  /** undefined: no token is asked for. */
  find(request: RequestView, filterState: { readonly [key: string]: unknown }): Requirement | undefined;
  /** What a route may ask for by name. */
  readonly named: ReadonlyMap<string, Requirement>;
}

export const compileJwtRules = (config: JwtAuthentication): JwtRules => {
  const list = Object.entries(config.providers ?? {}).map(([name, p]) => compileProvider(name, p, `providers.${name}`));
  const providers: JwtProviders = {
    byName: new Map(list.map((p) => [p.name, p])),
    byIssuer: new Map([...list].reverse().map((p) => [p.issuer, p])),
    only: list.length === 1 ? list[0] : undefined,
  };
  const compileMap = (map: JwtAuthentication['requirement_map'], path: string): Map<string, Requirement> =>
    new Map(Object.entries(map ?? {}).map(([name, r]) => [name, compileRequirement(r, providers, `${path}.${name}`)]));
  const named = compileMap(config.requirement_map, 'requirement_map');
  const rules = (config.rules ?? []).map((rule, i) => compileRule(rule, named, providers, `rules[${i}]`));
  const stateKey = config.filter_state_rules?.name ?? '';
  const byState = compileMap(config.filter_state_rules?.requires, 'filter_state_rules.requires');
  if (byState.size > 0 && stateKey === '') throw new PlanError('filter_state_rules.name', 'is required');
  const find: JwtRules['find'] = (request, filterState) => {
    if (rules.length > 0) {
      const path = withoutQuery(request.path);
      for (const { takes, requirement } of rules) if (takes(request, path)) return requirement;
    }
    const value = byState.size === 0 ? undefined : filterState[stateKey];
    return typeof value === 'string' ? byState.get(value) : undefined;
  };
  return { providers: list, find, named };
};

interface Rule {
  readonly takes: (request: RequestView, path: string) => boolean;
  readonly requirement: Requirement | undefined;
}

const compileRule = (rule: RequirementRule, named: ReadonlyMap<string, Requirement>, providers: JwtProviders, path: string): Rule => {
  // Envoy reads neither here.
  for (const field of ['runtime_fraction', 'dynamic_metadata'] as const) {
    const value = rule.match?.[field];
    if (value !== undefined && !(Array.isArray(value) && value.length === 0))
      throw new PlanError(`${path}.match.${field}`, 'is not supported');
  }
  const { path: criterion, conditions } = compileCriteria(rule.match, `${path}.match`);
  const takes: Rule['takes'] = (request, bare) =>
    criterion.matches(bare, request) && conditions.every((condition) => condition(request, 0, undefined));
  if (rule.requirement_name !== undefined) {
    const requirement = named.get(rule.requirement_name);
    if (requirement === undefined) throw new PlanError(`${path}.requirement_name`, wrongName(rule.requirement_name, named));
    return { takes, requirement };
  }
  return { takes, requirement: rule.requires === undefined ? undefined : compileRequirement(rule.requires, providers, `${path}.requires`) };
};

export const wrongName = (name: string, named: ReadonlyMap<string, Requirement>): string =>
  `Wrong requirement_name: ${name}. It should be one of [${[...named.keys()].sort().join(',')}]`;
