// Whom a cluster chooses among its hosts by their labels, and by policies in the form of extensions. Decided without sockets.
import type { Cluster, Cluster_LbSubsetConfig } from '../../../src/xds/gen/types.ts';
import { endpoint, extension, lbMetadata, picker, zone } from '../../proxy/picker-rig.ts';
import { cluster, type FieldCase, only } from '../case.ts';

const HOSTS = [
  zone('1', [
    endpoint(1, lbMetadata({ v: '1', s: 'x' })),
    endpoint(2, lbMetadata({ v: '1', s: 'y' })),
    endpoint(3, lbMetadata({ v: '2', s: ['x', 'z'] })),
    endpoint(4),
  ]),
];
type Rig = ReturnType<typeof picker>;
const chooses = (name: string, config: Cluster, ask: (rig: Rig) => unknown, expect: unknown, zones = HOSTS): FieldCase => ({
  name,
  parts: () => [cluster(config)],
  observe: (parts) => ask(picker(only(parts, 'envoy.config.cluster.v3.Cluster'), zones)),
  expect,
});
const subsets = (more: Cluster_LbSubsetConfig, around: Cluster = {}): Cluster => ({
  lb_subset_config: { subset_selectors: [{ keys: ['v'] }], ...more },
  ...around,
});
const who =
  (...wishes: readonly object[]) =>
  (rig: Rig): string[] =>
    wishes.map((metadata) => Object.keys(rig.spread(12, { metadata: metadata as never })).join(' '));

export const subsetDefault = chooses(
  'subset-default',
  subsets({ fallback_policy: 'DEFAULT_SUBSET', default_subset: { v: '2' } }),
  who({ v: '1' }, { v: '9' }),
  ['1 2', '3'],
);
export const subsetKeys = chooses(
  'subset-keys',
  subsets({
    fallback_policy: 'ANY_ENDPOINT',
    subset_selectors: [{ keys: ['v'] }, { keys: ['v', 's'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['v'] }],
  }),
  who({ v: '1', s: 'none' }, { q: '1' }),
  ['1 2', '1 2 3 4'],
);
export const subsetLists = chooses(
  'subset-lists',
  subsets({ subset_selectors: [{ keys: ['s'] }], list_as_any: true, metadata_fallback_policy: 'FALLBACK_LIST' }),
  who({ s: 'z' }, { fallback_list: [{ s: 'none' }, { s: 'y' }] }),
  ['3', '2'],
);
export const subsetSingle = chooses(
  'subset-single',
  subsets({ subset_selectors: [{ keys: ['v'], single_host_per_subset: true }] }),
  who({ v: '1' }),
  ['1'],
);
export const subsetPanic = chooses(
  'subset-panic',
  subsets({ fallback_policy: 'DEFAULT_SUBSET', default_subset: { s: 'none' }, panic_mode_any: true }),
  who({ v: '9' }),
  ['1 2 3 4'],
);
const ZONES = [
  zone('1', [endpoint(1, lbMetadata({ v: '1' })), endpoint(2), endpoint(3), endpoint(4)], { load_balancing_weight: 40 }),
  zone('2', [endpoint(5, lbMetadata({ v: '1' }))], { load_balancing_weight: 10 }),
];
const share = (rig: Rig): string => ((rig.spread(1000, { metadata: { v: '1' } as never })['1'] ?? 0) > 650 ? 'by weight' : 'even');
const weighted = { common_lb_config: { locality_weighted_lb_config: {} } };
export const subsetWeights = chooses('subset-weights', subsets({ locality_weight_aware: true }, weighted), share, 'by weight', ZONES);
export const subsetScaled = chooses(
  'subset-scaled-weights',
  subsets({ locality_weight_aware: true, scale_locality_weight: true }, weighted),
  share,
  'even',
  ZONES,
);
const BY_VERSION = { subset_selectors: [{ keys: ['v'] }] };
const inner = extension('round_robin.v3.RoundRobin').load_balancing_policy;
export const subsetExtension = chooses(
  'subset-extension',
  extension('subset.v3.Subset', { ...BY_VERSION, fallback_policy: 'DEFAULT_SUBSET', default_subset: { v: '2' }, subset_lb_policy: inner }),
  who({ v: '1' }, { v: '9' }),
  ['1 2', '3'],
);
export const subsetExtensionLists = chooses(
  'subset-extension-lists',
  extension('subset.v3.Subset', {
    subset_selectors: [{ keys: ['s'] }],
    list_as_any: true,
    metadata_fallback_policy: 'FALLBACK_LIST',
    subset_lb_policy: inner,
  }),
  who({ s: 'z' }, { fallback_list: [{ s: 'none' }, { s: 'y' }] }),
  ['3', '2'],
);
export const subsetExtensionKeys = chooses(
  'subset-extension-keys',
  extension('subset.v3.Subset', {
    fallback_policy: 'ANY_ENDPOINT',
    subset_selectors: [{ keys: ['v'] }, { keys: ['v', 's'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['v'] }],
    subset_lb_policy: inner,
  }),
  who({ v: '1', s: 'none' }),
  ['1 2'],
);
export const subsetExtensionSingle = chooses(
  'subset-extension-single',
  extension('subset.v3.Subset', { subset_selectors: [{ keys: ['v'], single_host_per_subset: true }], subset_lb_policy: inner }),
  who({ v: '1' }),
  ['1'],
);
export const subsetExtensionPanic = chooses(
  'subset-extension-panic',
  extension('subset.v3.Subset', {
    ...BY_VERSION,
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { s: 'none' },
    panic_mode_any: true,
    subset_lb_policy: inner,
  }),
  who({ v: '9' }),
  ['1 2 3 4'],
);
const inZones = { locality_lb_config: { locality_weighted_lb_config: {} } };
const LIGHT = [
  zone('1', [endpoint(1)], { load_balancing_weight: 90 }),
  zone('2', [endpoint(5), endpoint(6), endpoint(7)], { load_balancing_weight: 10 }),
];
const firstShare = (rig: Rig): string => ((rig.spread(1000)['1'] ?? 0) > 700 ? 'by zone' : 'by host');
export const roundRobinZones = chooses('round-robin-zones', extension('round_robin.v3.RoundRobin', inZones), firstShare, 'by zone', LIGHT);
export const leastRequestZones = chooses(
  'least-request-zones',
  extension('least_request.v3.LeastRequest', inZones),
  firstShare,
  'by zone',
  LIGHT,
);
export const randomZones = chooses('random-zones', extension('random.v3.Random', inZones), firstShare, 'by zone', LIGHT);
export const wrrLocality = chooses(
  'wrr-locality',
  extension('wrr_locality.v3.WrrLocality', { endpoint_picking_policy: inner }),
  firstShare,
  'by zone',
  LIGHT,
);
const hashedShare = (rig: Rig): string => {
  let first = 0;
  for (let i = 0n; i < 600n; i++) if (rig.pick({ hash: i * 30_744_573_456_182_586n }) === '1') first++;
  return first > 420 ? 'by zone' : 'by host';
};
export const ringZones = chooses(
  'ring-zones',
  extension('ring_hash.v3.RingHash', { locality_weighted_lb_config: {} }),
  hashedShare,
  'by zone',
  LIGHT,
);
export const maglevZones = chooses(
  'maglev-zones',
  extension('maglev.v3.Maglev', { locality_weighted_lb_config: {} }),
  hashedShare,
  'by zone',
  LIGHT,
);
