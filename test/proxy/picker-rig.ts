// Choosing hosts without a data plane: a cluster's configuration, its endpoints, and who is chosen how often.
import { HostPicker, type HostWish, type PickerEnvironment } from '../../src/proxy/balance/host-picker.ts';
import { compileLbPlan } from '../../src/proxy/balance/lb-plan.ts';
import { pickerStats } from '../../src/proxy/cluster/cluster-stats.ts';
import type { Host } from '../../src/proxy/cluster/host.ts';
import { buildMembership } from '../../src/proxy/cluster/membership.ts';
import { StatsStore } from '../../src/proxy/stats-store.ts';
import type { Cluster, ClusterLoadAssignment, LbEndpoint, LoadBalancingPolicy, LocalityLbEndpoints } from '../../src/xds/gen/types.ts';
import { seeded } from './chi-square.ts';

/** The host of port `n` answers to the name `n`. */
export const endpoint = (n: number, more: Partial<LbEndpoint> = {}): LbEndpoint => ({
  endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: n } } },
  ...more,
});
export const zone = (name: string, lb_endpoints: readonly LbEndpoint[], more: Partial<LocalityLbEndpoints> = {}): LocalityLbEndpoints => ({
  locality: { region: 'r', zone: name },
  lb_endpoints,
  ...more,
});
export const lbMetadata = (facts: object): Partial<LbEndpoint> => ({ metadata: { filter_metadata: { 'envoy.lb': facts as never } } });

export const extension = (type: string, config: object = {}): { readonly load_balancing_policy: LoadBalancingPolicy } => ({
  load_balancing_policy: {
    policies: [
      {
        typed_extension_config: {
          name: type,
          typed_config: { '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${type}`, ...config },
        },
      },
    ],
  },
});

export interface PickerRig {
  readonly hosts: readonly Host[];
  pick(wish?: Partial<HostWish>): string;
  /** By name; '-' is nobody. */
  spread(picks: number, wish?: Partial<HostWish>): { readonly [name: string]: number };
  healthChanged(): void;
  stat(name: string): number;
}

export const picker = (
  config: Cluster,
  endpoints: readonly LocalityLbEndpoints[],
  { seed = 7, policy, ...environment }: Partial<PickerEnvironment> & { seed?: number; policy?: ClusterLoadAssignment['policy'] } = {},
): PickerRig => {
  const store = new StatsStore();
  const { membership, hosts } = buildMembership({ endpoints, policy }, new Map());
  const made = new HostPicker(
    compileLbPlan(config),
    { random: seeded(seed), now: () => 0, active: () => 0, local: () => undefined, ...environment },
    pickerStats(store, 'c'),
  );
  made.setMembership(membership);
  const pick = (wish: Partial<HostWish> = {}): string => made.pick({ hash: undefined, ...wish })?.address.slice('10.0.0.1:'.length) ?? '-';
  return {
    hosts,
    pick,
    spread: (picks, wish) => {
      const counts: { [name: string]: number } = {};
      for (let i = 0; i < picks; i++) {
        const name = pick(wish);
        counts[name] = (counts[name] ?? 0) + 1;
      }
      return counts;
    },
    healthChanged: () => made.healthChanged(),
    stat: (name) => store.find(`cluster.c.${name}`)?.value ?? 0,
  };
};
