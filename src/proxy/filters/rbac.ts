// envoy.filters.http.rbac: policies that are only tried out (shadow) leave their result in dynamic metadata, then the enforced
// ones let the request pass or answer 403. Decides on the head alone, at once; a decision makes no objects.

import { PlanError } from '../../plan/plan-error.ts';
import type { AnyMessage, HttpRbac_RBAC, RBACPerRoute } from '../../xds/gen/types.ts';
import type { ListenerContext } from '../exchange/observer.ts';
import { configAs } from '../extension-config.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { FilterExchange, FilterVerdict, HttpFilter, HttpFilterFactory } from './http-filter.ts';
import { MetadataNote, RbacCounts, RbacRules, statPrefix } from './rbac-rules.ts';
import { ExchangeView } from './rbac-view.ts';

const METADATA = 'envoy.filters.http.rbac';
/** Where a LOG action tells access logs whether to write the request. */
const COMMON = 'envoy.common';
const LOGGED = new MetadataNote({ access_log_hint: true });
const NOT_LOGGED = new MetadataNote({ access_log_hint: false });

interface Rbac {
  readonly rules: RbacRules | undefined;
  readonly shadow: RbacRules | undefined;
}

const compileRbac = (config: HttpRbac_RBAC, path: string): Rbac => {
  for (const field of ['matcher', 'shadow_matcher'] as const)
    if (config[field] !== undefined) throw new PlanError(`${path}${field}`, 'matcher trees are not supported: use rules');
  const { rules, shadow_rules: shadow, rules_stat_prefix: prefix = '', shadow_rules_stat_prefix: shadowPrefix = '' } = config;
  return {
    rules: rules === undefined ? undefined : new RbacRules(rules, false, 'enforced', prefix, `${path}rules`),
    shadow: shadow === undefined ? undefined : new RbacRules(shadow, false, 'shadow', shadowPrefix, `${path}shadow_rules`),
  };
};

class RbacFilter implements HttpFilter {
  readonly #own: Rbac;
  readonly #enforced: RbacCounts;
  readonly #tried: RbacCounts;
  readonly #view = new ExchangeView();

  constructor(own: Rbac, enforced: RbacCounts, tried: RbacCounts) {
    this.#own = own;
    this.#enforced = enforced;
    this.#tried = tried;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): FilterVerdict {
    const { rules, shadow } = (perRoute as Rbac | undefined) ?? this.#own;
    const view = this.#view;
    view.request = exchange;
    const metadata = exchange.info.dynamicMetadata;
    if (shadow !== undefined) {
      const outcome = shadow.decide(view);
      this.#tried.count(outcome);
      metadata[METADATA] = outcome.note.on(metadata[METADATA]);
    }
    if (rules === undefined) {
      view.request = undefined;
      return undefined;
    }
    const outcome = rules.decide(view);
    view.request = undefined;
    this.#enforced.count(outcome);
    metadata[METADATA] = outcome.note.on(metadata[METADATA]);
    if (rules.action === 'LOG') metadata[COMMON] = (outcome.policy === '' ? NOT_LOGGED : LOGGED).on(metadata[COMMON]);
    return outcome.allowed ? undefined : outcome.denial;
  }
}

export const rbacFilter: HttpFilterFactory = {
  compile: (typed: AnyMessage | undefined, context: ListenerContext, { env }): HttpFilter => {
    const config = configAs<HttpRbac_RBAC>(typed, '');
    const perPolicy = config.track_per_rule_stats === true;
    const base = statPrefix('http', context.statPrefix, 'rbac');
    const counts = (prefix: string | undefined, shadow: boolean): RbacCounts =>
      new RbacCounts((name) => env.stats.counter(name), statPrefix(base, prefix ?? ''), shadow, perPolicy);
    return new RbacFilter(compileRbac(config, ''), counts(config.rules_stat_prefix, false), counts(config.shadow_rules_stat_prefix, true));
  },
  compilePerRoute: (typed: AnyMessage, _env: ProxyEnvironment): Rbac => compileRbac((typed as unknown as RBACPerRoute).rbac ?? {}, 'rbac.'),
};
