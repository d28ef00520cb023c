// One set of RBAC policies as a filter carries it out: what a match leads to (reply, metadata, counters) is made when it is compiled.

import type { AuthzView } from '../../plan/authz/authz-view.ts';
import { type AuthzPolicies, compilePolicies, NO_POLICY } from '../../plan/authz/policies.ts';
import type { JsonObject, Rbac_RBAC } from '../../xds/gen/types.ts';
import type { Stat } from '../stats-store.ts';
import type { FilterVerdict } from './http-filter.ts';

export interface RbacOutcome {
  readonly allowed: boolean;
  /** '' none. */
  readonly policy: string;
  /** `rbac_access_denied_matched_policy[…]`. */
  readonly details: string;
  /** What HTTP is answered when it is not allowed. */
  readonly denial: FilterVerdict;
  readonly note: MetadataNote;
}

/** Fields to be merged into dynamic metadata. What was merged last is kept: it is mostly the same again. */
export class MetadataNote {
  readonly #fields: JsonObject;
  #before: JsonObject | undefined;
  #after: JsonObject;

  constructor(fields: JsonObject) {
    this.#fields = fields;
    this.#after = fields;
  }

  on(before: JsonObject | undefined): JsonObject {
    if (before !== this.#before) {
      this.#before = before;
      this.#after = { ...before, ...this.#fields };
    }
    return this.#after;
  }
}

export class RbacRules {
  readonly action: AuthzPolicies['action'];
  readonly #policies: AuthzPolicies;
  readonly #outcomes: readonly RbacOutcome[];
  readonly #none: RbacOutcome;

  /** `kind` and `prefix` make the keys of the metadata: PREFIXenforced_engine_result. */
  constructor(rules: Rbac_RBAC, connections: boolean, kind: 'enforced' | 'shadow', prefix: string, path: string) {
    this.#policies = compilePolicies(rules, connections, path);
    this.action = this.#policies.action;
    const outcome = (at: number): RbacOutcome => {
      const policy = this.#policies.names[at] ?? '';
      const allowed = this.#policies.allows(at);
      const details = `rbac_access_denied_matched_policy[${at === NO_POLICY ? 'none' : policy.replace(/\s/g, '_')}]`;
      return {
        allowed,
        policy,
        details,
        denial: { kind: 'reply', status: 403, body: 'RBAC: access denied', details, headers: [] },
        note: new MetadataNote({
          ...(policy === '' ? {} : { [`${prefix}${kind}_effective_policy_id`]: policy }),
          [`${prefix}${kind}_engine_result`]: allowed ? 'allowed' : 'denied',
        }),
      };
    };
    this.#outcomes = this.#policies.names.map((_, i) => outcome(i));
    this.#none = outcome(NO_POLICY);
  }

  decide(view: AuthzView): RbacOutcome {
    return this.#outcomes[this.#policies.match(view)] ?? this.#none;
  }
}

/** `allowed` and `denied` of one set of policies, and of each policy when that is asked for. */
export class RbacCounts {
  readonly #prefix: string;
  readonly #shadow: string;
  readonly #counter: (name: string) => Stat;
  readonly #allowed: Stat;
  readonly #denied: Stat;
  readonly #perPolicy: Map<string, Stat> | undefined;

  constructor(counter: (name: string) => Stat, prefix: string, shadow: boolean, perPolicy: boolean) {
    this.#counter = counter;
    this.#prefix = prefix;
    this.#shadow = shadow ? 'shadow_' : '';
    this.#allowed = counter(`${prefix}${this.#shadow}allowed`);
    this.#denied = counter(`${prefix}${this.#shadow}denied`);
    this.#perPolicy = perPolicy ? new Map() : undefined;
  }

  count({ allowed, policy }: RbacOutcome): void {
    (allowed ? this.#allowed : this.#denied).value++;
    if (this.#perPolicy === undefined || policy === '') return;
    const name = `policy.${policy}.${this.#shadow}${allowed ? 'allowed' : 'denied'}`;
    let stat = this.#perPolicy.get(name);
    if (stat === undefined) {
      stat = this.#counter(this.#prefix + name);
      this.#perPolicy.set(name, stat);
    }
    stat.value++;
  }
}

/** Envoy joins parts of a counter's name by a dot unless one is there. */
export const statPrefix = (...parts: readonly string[]): string =>
  parts.reduce((name, part) => (part === '' ? name : `${name}${part}${part.endsWith('.') ? '' : '.'}`), '');
