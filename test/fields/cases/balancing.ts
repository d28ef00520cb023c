// Whom the policies choose, by what they are told. Decided without sockets.
import type { Cluster } from '../../../src/xds/gen/types.ts';
import { endpoint, extension, picker, zone } from '../../proxy/picker-rig.ts';
import { cluster, type FieldCase, only } from '../case.ts';

const EVEN = [zone('1', [endpoint(1), endpoint(2), endpoint(3), endpoint(4)])];
type Rig = ReturnType<typeof picker>;
const chooses = (name: string, config: Cluster, ask: (rig: Rig) => unknown, expect: unknown, zones = EVEN, active = 0): FieldCase => ({
  name,
  parts: () => [cluster(config)],
  observe: (parts) => {
    const rig = picker(only(parts, 'envoy.config.cluster.v3.Cluster'), zones);
    const first = rig.hosts[0];
    if (first !== undefined) first.stats.rqActive = active;
    return ask(rig);
  },
  expect,
});

/** The first host of many is the busiest: who looks at several takes it less often. */
const busy = 50;
const shareOfFirst = (rig: Rig): number => rig.spread(2000)['1'] ?? 0;
const seldom = (rig: Rig): string => (shareOfFirst(rig) < 60 ? 'seldom' : 'often');
export const choiceCount = chooses(
  'choice-count',
  { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { choice_count: 4 } },
  seldom,
  'seldom',
  EVEN,
  busy,
);
export const choiceCountExtension = chooses(
  'choice-count-extension',
  extension('least_request.v3.LeastRequest', { choice_count: 4 }),
  seldom,
  'seldom',
  EVEN,
  busy,
);
export const fullScan = chooses(
  'full-scan',
  extension('least_request.v3.LeastRequest', { enable_full_scan: true }),
  (rig) => (shareOfFirst(rig) === 0 ? 'never' : 'sometimes'),
  'never',
  EVEN,
  busy,
);
const WEIGHTED = [zone('1', [endpoint(1, { load_balancing_weight: 2 }), endpoint(2, { load_balancing_weight: 1 })])];
const loaded = 30;
const unbiased = (rig: Rig): string => (shareOfFirst(rig) > 1000 ? 'by weight' : 'by load');
export const bias = chooses(
  'active-bias',
  { lb_policy: 'LEAST_REQUEST', least_request_lb_config: { active_request_bias: { default_value: 0, runtime_key: 'k' } } },
  unbiased,
  'by weight',
  WEIGHTED,
  loaded,
);
export const biasExtension = chooses(
  'active-bias-extension',
  extension('least_request.v3.LeastRequest', { active_request_bias: { default_value: 0.001, runtime_key: 'k' } }),
  unbiased,
  'by weight',
  WEIGHTED,
  loaded,
);

/** How many of many keys stay where they are under another size of the table. */
const places = (rig: Rig): string =>
  Array.from({ length: 40 }, (_, i) => rig.pick({ hash: BigInt(i) * 461_168_601_842_738_790n })).join('');
const fixed = (config: Cluster): string => places(picker(config, EVEN));
const hashing = (name: string, config: Cluster): FieldCase => chooses(name, config, places, fixed(config));
export const ringSize = hashing('ring-size', {
  lb_policy: 'RING_HASH',
  ring_hash_lb_config: { minimum_ring_size: 8, maximum_ring_size: 8, hash_function: 'MURMUR_HASH_2' },
});
export const ringSizeExtension = hashing(
  'ring-size-extension',
  extension('ring_hash.v3.RingHash', { minimum_ring_size: 8, maximum_ring_size: 8, hash_function: 'MURMUR_HASH_2' }),
);
export const tableSize = hashing('table-size', { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 11 } });
export const tableSizeExtension = hashing('table-size-extension', extension('maglev.v3.Maglev', { table_size: 11 }));
const NAMED = [
  zone(
    '1',
    ['a', 'b', 'c', 'd'].map((hostname, i) => ({ endpoint: { ...endpoint(i + 1).endpoint, hostname } })),
  ),
];
const named = (name: string, config: Cluster): FieldCase => chooses(name, config, places, places(picker(config, NAMED)), NAMED);
export const ringNames = named('ring-names', {
  lb_policy: 'RING_HASH',
  common_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } },
});
export const ringNamesExtension = named(
  'ring-names-extension',
  extension('ring_hash.v3.RingHash', { consistent_hashing_lb_config: { use_hostname_for_hashing: true } }),
);
export const ringNamesOld = named('ring-names-old', extension('ring_hash.v3.RingHash', { use_hostname_for_hashing: true }));
export const maglevNames = named(
  'maglev-names',
  extension('maglev.v3.Maglev', { consistent_hashing_lb_config: { use_hostname_for_hashing: true } }),
);
