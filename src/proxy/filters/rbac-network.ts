// envoy.filters.network.rbac: whether a connection is served at all. Decided when its chain is known, before anything is dialled for
// it, where Envoy waits for the first byte: all that can be asked of a connection is known by then, and stays. So
// `enforcement_type: CONTINUOUS` decides no other than ONE_TIME_ON_FIRST_BYTE; it is counted once.

import { PlanError } from '../../plan/plan-error.ts';
import type { NetworkRbac_RBAC } from '../../xds/gen/types.ts';
import { durationMs } from '../../xds/well-known.ts';
import { configAs } from '../extension-config.ts';
import type { NetworkFilterFactory, Refusal } from './network-filter.ts';
import { RbacCounts, RbacRules, statPrefix } from './rbac-rules.ts';
import { ConnectionView } from './rbac-view.ts';

const METADATA = 'envoy.filters.network.rbac';

export const networkRbac: NetworkFilterFactory = (any, env, path) => {
  const config = configAs<NetworkRbac_RBAC>(any, path);
  const { rules, shadow_rules: shadow, shadow_rules_stat_prefix: shadowPrefix = '', stat_prefix: prefix = '' } = config;
  for (const field of ['matcher', 'shadow_matcher'] as const)
    if (config[field] !== undefined) throw new PlanError(`${path}.${field}`, 'matcher trees are not supported: use rules');
  if (prefix === '') throw new PlanError(`${path}.stat_prefix`, 'is needed');
  const delayMs = config.delay_deny === undefined ? 0 : durationMs(config.delay_deny);
  const enforced = rules === undefined ? undefined : new RbacRules(rules, true, 'enforced', '', `${path}.rules`);
  const tried = shadow === undefined ? undefined : new RbacRules(shadow, true, 'shadow', shadowPrefix, `${path}.shadow_rules`);
  const counter = (name: string) => env.stats.counter(name);
  const counts = new RbacCounts(counter, statPrefix(prefix, 'rbac'), false, false);
  const triedCounts = new RbacCounts(counter, statPrefix(prefix, 'rbac', shadowPrefix), true, false);
  const view = new ConnectionView();
  return {
    admit: (facts): Refusal | undefined => {
      view.facts = facts;
      if (tried !== undefined) {
        const outcome = tried.decide(view);
        triedCounts.count(outcome);
        facts.dynamicMetadata ??= {};
        facts.dynamicMetadata[METADATA] = outcome.note.on(facts.dynamicMetadata[METADATA]);
      }
      const outcome = enforced?.decide(view);
      view.facts = undefined;
      if (outcome === undefined) return undefined;
      counts.count(outcome);
      return outcome.allowed ? undefined : { reason: 'rbac_deny_close', details: outcome.details, delayMs };
    },
  };
};
