// What ext_authz counts: for its connection manager, and for the cluster each request was going to.

import { countAnswer } from '../cluster/cluster-stats.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { Stat } from '../stats-store.ts';
import type { FilterExchange } from './http-filter.ts';

const OUTCOMES = ['ok', 'denied', 'error', 'failure_mode_allowed', 'invalid'] as const;
type Outcome = (typeof OUTCOMES)[number];

export class AuthzStats {
  readonly #env: ProxyEnvironment;
  /** Behind `ext_authz.`. */
  readonly #prefix: string;
  readonly #disabled: Stat;
  readonly #ignored: Stat;
  readonly #counts: { readonly [K in Outcome]: Stat };

  constructor(env: ProxyEnvironment, connectionManager: string, prefix: string) {
    this.#env = env;
    this.#prefix = prefix === '' ? '' : `${prefix}.`;
    const counter = (name: string): Stat => env.stats.counter(`http.${connectionManager}.ext_authz.${this.#prefix}${name}`);
    this.#disabled = counter('disabled');
    this.#ignored = counter('ignored_dynamic_metadata');
    this.#counts = {
      ok: counter('ok'),
      denied: counter('denied'),
      error: counter('error'),
      failure_mode_allowed: counter('failure_mode_allowed'),
      invalid: counter('invalid'),
    };
  }

  disabled(): void {
    this.#disabled.value++;
  }

  ignoredMetadata(): void {
    this.#ignored.value++;
  }

  count(exchange: FilterExchange, outcome: Outcome): void {
    this.#counts[outcome].value++;
    const cluster = this.#env.cluster(exchange.route?.clusterName ?? '');
    if (cluster !== undefined) this.#env.stats.counter(`cluster.${cluster.statName}.ext_authz.${this.#prefix}${outcome}`).value++;
  }

  /** The answer counts as one of the cluster that the request did not reach. */
  charge(exchange: FilterExchange, status: number): void {
    const stats = this.#env.cluster(exchange.route?.clusterName ?? '')?.stats;
    if (stats !== undefined) countAnswer(stats, status);
  }
}
