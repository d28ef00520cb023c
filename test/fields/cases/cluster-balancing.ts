// Whom a cluster chooses by zone, in slow start, with bounded load and by rings of a given size. Decided without sockets.

import { buildMembership } from '../../../src/proxy/cluster/membership.ts';
import type { Cluster, ClusterLoadAssignment, LocalityLbEndpoints } from '../../../src/xds/gen/types.ts';
import { endpoint, extension, lbMetadata, picker, zone } from '../../proxy/picker-rig.ts';
import { endpoints as assigned, cluster, type FieldCase, only } from '../case.ts';

type Zones = readonly LocalityLbEndpoints[];
type Rig = ReturnType<typeof picker>;
type Around = NonNullable<Parameters<typeof picker>[2]>;
const chooses = (
  name: string,
  config: Cluster,
  zones: Zones,
  ask: (rig: Rig) => unknown,
  expect: unknown,
  around: () => Around = () => ({}),
): FieldCase => ({
  name,
  parts: () => [cluster(config)],
  observe: (parts) => ask(picker(only(parts, 'envoy.config.cluster.v3.Cluster'), zones, around())),
  expect,
});

// --- zones

const many = (count: number, from: number) => Array.from({ length: count }, (_, i) => endpoint(from + i));
const twoZones = (near: number, far: number, from = 1): Zones => [zone('a', many(near, from)), zone('b', many(far, from + 100))];
const callers = (): Around => ({
  local: () => ({
    membership: buildMembership({ endpoints: twoZones(1, 1, 1000) }, new Map()).membership,
    panicThreshold: 50,
    locality: { region: 'r', zone: 'a' },
  }),
});
const inOwnZone = (rig: Rig): number =>
  Object.entries(rig.spread(64)).reduce((n, [name, count]) => n + (Number(name) < 100 ? count : 0), 0);
const inFields = (zone_aware_lb_config: object): Cluster => ({ common_lb_config: { zone_aware_lb_config } });
const inExtension = (zone_aware_lb_config: object): Cluster =>
  extension('round_robin.v3.RoundRobin', { locality_lb_config: { zone_aware_lb_config } });

const zoneAware = (name: string, config: Cluster): FieldCase => chooses(name, config, twoZones(2, 2), inOwnZone, 64, callers);
const ownZone = zoneAware('own-zone', inFields({ min_cluster_size: 2 }));
const ownZoneExtension = zoneAware('own-zone-extension', inExtension({ min_cluster_size: 2 }));
const zoneSeldom = (name: string, config: Cluster): FieldCase => chooses(name, config, twoZones(2, 6), inOwnZone, 16, callers);
const zoneNever = zoneSeldom('own-zone-share', inFields({ routing_enabled: { value: 0 } }));
const zoneNeverExtension = zoneSeldom('own-zone-share-extension', inExtension({ routing_enabled: { value: 0 } }));
const SICK = [zone('a', [...[1, 2, 3].map((n) => endpoint(n, { health_status: 'UNHEALTHY' })), endpoint(4)])];
const failing = (name: string, config: Cluster): FieldCase => chooses(name, config, SICK, (rig) => rig.spread(6), { '-': 6 });
const panicFails = failing('panic-fails', inFields({ fail_traffic_on_panic: true }));
const panicFailsExtension = failing('panic-fails-extension', inExtension({ fail_traffic_on_panic: true }));

// --- slow start

const DAY_MS = 86_400_000;
const SLOW = {
  slow_start_config: {
    slow_start_window: '60s',
    aggression: { default_value: 2, runtime_key: 'k' },
    min_weight_percent: { value: 40 },
  },
};
/** Of 1,000 requests, how many a host gets that is new, and then that is there for a while. */
const growing = (name: string, config: Cluster): FieldCase => ({
  name,
  parts: () => [cluster(config)],
  observe: (parts) =>
    [0, 15_000].map((ageMs) => {
      const zones = [zone('a', many(3, 1))];
      const rig = picker(only(parts, 'envoy.config.cluster.v3.Cluster'), zones, { now: () => DAY_MS });
      for (const [i, host] of rig.hosts.entries()) host.addedAtMs = i === 2 ? DAY_MS - ageMs : 0;
      rig.healthChanged();
      const share = rig.spread(1000)['3'] ?? 0;
      return [167, 200].find((wanted) => Math.abs(share - wanted) <= 14) ?? 'another share';
    }),
  expect: [167, 200],
});
const slowRoundRobin = growing('slow-round-robin', { round_robin_lb_config: SLOW });
const slowLeastRequest = growing('slow-least-request', { lb_policy: 'LEAST_REQUEST', least_request_lb_config: SLOW });
const slowRoundRobinExtension = growing('slow-round-robin-extension', extension('round_robin.v3.RoundRobin', SLOW));
const slowLeastRequestExtension = growing('slow-least-request-extension', extension('least_request.v3.LeastRequest', SLOW));

// --- hashes

const EVEN = [zone('a', many(4, 1))];
const KEYS = 60;
const places = (rig: Rig): string[] => Array.from({ length: KEYS }, (_, i) => rig.pick({ hash: BigInt(i) * 299_692_866_521_482_831n }));
const busy = (rig: Rig): number => {
  const [first] = rig.hosts;
  if (first !== undefined) first.stats.rqActive = 50;
  return places(rig).filter((name) => name === '1').length;
};
const bounded = (name: string, config: Cluster): FieldCase => chooses(name, config, EVEN, busy, 0, () => ({ active: () => 50 }));
const BOUND = { hash_balance_factor: 120 };
const boundedFields = bounded('bounded-load', { lb_policy: 'RING_HASH', common_lb_config: { consistent_hashing_lb_config: BOUND } });
const boundedRing = bounded('bounded-load-ring', extension('ring_hash.v3.RingHash', { consistent_hashing_lb_config: BOUND }));
const boundedRingOld = bounded('bounded-load-ring-old', extension('ring_hash.v3.RingHash', BOUND));
const UNEVEN = [
  zone('a', [
    endpoint(1, { load_balancing_weight: 1 }),
    endpoint(2, { load_balancing_weight: 60 }),
    endpoint(3, { load_balancing_weight: 39 }),
  ]),
];
const ofSize = (name: string, config: Cluster): FieldCase => chooses(name, config, UNEVEN, places, places(picker(config, UNEVEN)));
const SIZE = { minimum_ring_size: 8, maximum_ring_size: 8 };
const ringMost = ofSize('ring-most', { lb_policy: 'RING_HASH', ring_hash_lb_config: SIZE });
const ringMostExtension = ofSize('ring-most-extension', extension('ring_hash.v3.RingHash', SIZE));
const scanned = chooses(
  'selection-method',
  extension('least_request.v3.LeastRequest', { selection_method: 'FULL_SCAN' }),
  EVEN,
  (rig) => {
    const [first] = rig.hosts;
    if (first !== undefined) first.stats.rqActive = 50;
    return rig.spread(2000)['1'] ?? 0;
  },
  0,
);

// --- subsets and levels

const LABELLED = [
  zone('1', [endpoint(1, lbMetadata({ v: '1' })), endpoint(2), endpoint(3), endpoint(4)], { load_balancing_weight: 40 }),
  zone('2', [endpoint(5, lbMetadata({ v: '1' }))], { load_balancing_weight: 10 }),
];
const subset = (more: object): Cluster =>
  extension('subset.v3.Subset', {
    subset_selectors: [{ keys: ['v'] }],
    subset_lb_policy: extension('round_robin.v3.RoundRobin', { locality_lb_config: { locality_weighted_lb_config: {} } })
      .load_balancing_policy,
    ...more,
  });
const byWeight = (rig: Rig): string => ((rig.spread(1000, { metadata: { v: '1' } })['1'] ?? 0) > 650 ? 'by weight' : 'even');
const subsetExtensionWeights = chooses(
  'subset-extension-weights',
  subset({ locality_weight_aware: true }),
  LABELLED,
  byWeight,
  'by weight',
);
const subsetExtensionScaled = chooses(
  'subset-extension-scaled',
  subset({ locality_weight_aware: true, scale_locality_weight: true }),
  LABELLED,
  byWeight,
  'even',
);

const LEVELS: ClusterLoadAssignment = {
  cluster_name: 'c',
  policy: { weighted_priority_health: true },
  endpoints: [
    zone('1', [endpoint(1, { load_balancing_weight: 9 }), endpoint(2, { health_status: 'UNHEALTHY', load_balancing_weight: 1 })]),
    zone('1', [endpoint(3)], { priority: 1 }),
  ],
};
const weightedLevels: FieldCase = {
  name: 'weighted-levels',
  parts: () => [assigned(LEVELS)],
  observe: (parts) => {
    const { endpoints = [], policy } = only(parts, 'envoy.config.endpoint.v3.ClusterLoadAssignment');
    return picker({}, endpoints, { policy }).spread(50);
  },
  expect: { 1: 50 },
};

export const BALANCING_CASES: readonly FieldCase[] = [
  ownZone,
  ownZoneExtension,
  zoneNever,
  zoneNeverExtension,
  panicFails,
  panicFailsExtension,
  slowRoundRobin,
  slowLeastRequest,
  slowRoundRobinExtension,
  slowLeastRequestExtension,
  boundedFields,
  boundedRing,
  boundedRingOld,
  ringMost,
  ringMostExtension,
  scanned,
  subsetExtensionWeights,
  subsetExtensionScaled,
  weightedLevels,
];
