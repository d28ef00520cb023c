// Load balancer settings: hash policies, locality, zones, warmup.

import type { Findings } from '../../findings.ts';
import { below, child, item } from '../../reading/field-path.ts';
import type { ConsistentHashLB, LoadBalancerSettings, LocalityLoadBalancerSetting } from '../../specs.ts';
import { checkDuration, checkDurationOrZero } from '../../values/duration-text.ts';

export const checkLoadBalancer = (settings: LoadBalancerSettings, path: string, findings: Findings, outlier: boolean): void => {
  if (settings.consistentHash) checkConsistentHash(settings.consistentHash, child(path, 'consistentHash'), findings);
  const locality = settings.localityLbSetting;
  const zones = settings.zoneAwareLbSetting;
  if (locality) checkLocality(locality, child(path, 'localityLbSetting'), findings, outlier);
  if (zones) checkZoneAware(zones, child(path, 'zoneAwareLbSetting'), findings, outlier);
  if (locality && zones)
    findings.error(child(path, 'zoneAwareLbSetting'), 'only one of localityLbSetting and zoneAwareLbSetting may be set');
  if (settings.warmupDurationSecs !== undefined)
    findings.unless(child(path, 'warmupDurationSecs'), checkDuration(settings.warmupDurationSecs));
  const { warmup } = settings;
  if (!warmup) return;
  if (warmup.duration === undefined) findings.error(child(path, 'warmup'), 'duration is required');
  else findings.unless(below(path, 'warmup.duration'), checkDuration(warmup.duration));
  if (settings.warmupDurationSecs !== undefined)
    findings.error(child(path, 'warmup'), 'only one of warmupDurationSecs or warmup can be set');
  if ((warmup.minimumPercent ?? 0) > 100) findings.error(below(path, 'warmup.minimumPercent'), 'must be at most 100');
  if (warmup.aggression !== undefined && warmup.aggression < 1) findings.error(below(path, 'warmup.aggression'), 'must be at least 1');
};

const MAGLEV_TABLE_MAX = 5_000_011;

const checkConsistentHash = (hash: ConsistentHashLB, path: string, findings: Findings): void => {
  const cookie = hash.httpCookie;
  if (cookie) {
    if ((cookie.name ?? '') === '') findings.error(child(path, 'httpCookie'), 'a name is required for httpCookie');
    if (cookie.ttl !== undefined) findings.unless(below(path, 'httpCookie.ttl'), checkDurationOrZero(cookie.ttl));
    checkAttributes(cookie.attributes ?? [], below(path, 'httpCookie.attributes'), findings);
  }
  if ((hash.minimumRingSize ?? 0) !== 0) {
    findings.warn(child(path, 'minimumRingSize'), 'minimumRingSize is deprecated', 'use ringHash.minimumRingSize');
    if (hash.ringHash || hash.maglev)
      findings.error(child(path, 'minimumRingSize'), 'only one of minimumRingSize or maglev/ringHash can be specified');
  }
  if (!hash.maglev) return;
  const size = hash.maglev.tableSize ?? 0;
  const at = below(path, 'maglev.tableSize');
  if (size === 0) findings.error(child(path, 'maglev'), 'tableSize must be set for maglev');
  else if (size >= MAGLEV_TABLE_MAX) findings.error(at, `tableSize must be less than ${MAGLEV_TABLE_MAX} for maglev`);
  else if (!isPrime(size)) findings.error(at, 'tableSize must be a prime number for maglev');
};

const checkAttributes = (attributes: readonly { readonly name?: string }[], path: string, findings: Findings): void => {
  const seen = new Set<string>();
  for (const [index, { name = '' }] of attributes.entries()) {
    const at = item(path, index);
    if (name === '') findings.error(at, 'a cookie attribute needs a name');
    else if (seen.has(name)) findings.error(at, `duplicate cookie attribute ${JSON.stringify(name)}`);
    seen.add(name);
  }
};

/** As Envoy decides it: 1 counts. */
const isPrime = (value: number): boolean => {
  if (value > 0 && value < 4) return true;
  if (value % 2 === 0) return false;
  for (let factor = 3; factor * factor <= value; factor += 2) if (value % factor === 0) return false;
  return true;
};

const topologyLabels: ReadonlySet<string> = new Set([
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'topology.istio.io/subzone',
]);

/** `outlier`: the policy has outlier detection, without which failover does nothing. */
export const checkLocality = (setting: LocalityLoadBalancerSetting, path: string, findings: Findings, outlier: boolean): void => {
  const distribute = setting.distribute ?? [];
  const failover = setting.failover ?? [];
  if (distribute.length > 0 && failover.length > 0) {
    findings.error(child(path, 'failover'), "cannot simultaneously specify 'distribute' and 'failover'");
    return;
  }
  for (const [index, entry] of distribute.entries()) {
    const at = child(item(child(path, 'distribute'), index), 'to');
    const weights = Object.values(entry.to ?? {});
    if (weights.some((w) => w < 1 || w > 100)) findings.error(at, 'locality weight must be in range [1, 100]');
    const total = weights.reduce((sum, w) => sum + w, 0);
    if (total !== 100) findings.error(at, `total locality weight ${total} != 100`);
    findings.unless(at, checkLocalities(Object.keys(entry.to ?? {})));
  }
  findings.unless(child(path, 'distribute'), checkLocalities(distribute.map((d) => d.from ?? '')));
  checkFailover(failover, setting.failoverPriority ?? [], path, findings, outlier);
};

export const checkZoneAware = (
  setting: NonNullable<LoadBalancerSettings['zoneAwareLbSetting']>,
  path: string,
  findings: Findings,
  outlier: boolean,
): void => {
  const topology = (setting.failoverPriority ?? []).find((label) => topologyLabels.has(label));
  if (topology !== undefined)
    findings.error(child(path, 'failoverPriority'), `topology label '${topology}' is implied by zoneAwareLbSetting`);
  checkFailover(setting.failover ?? [], setting.failoverPriority ?? [], path, findings, outlier);
};

type Failover = { readonly from?: string; readonly to?: string };

const checkFailover = (
  failover: readonly Failover[],
  priority: readonly string[],
  path: string,
  findings: Findings,
  outlier: boolean,
): void => {
  const topology = priority.find((label) => topologyLabels.has(label));
  if (failover.length > 0 && topology !== undefined) {
    findings.error(
      child(path, 'failoverPriority'),
      `cannot set 'failover' together with topology label '${topology}' in 'failoverPriority'`,
    );
  }
  if ((failover.length > 0 || priority.length > 0) && !outlier)
    findings.warn(path, 'outlier detection policy must be provided for failover');
  for (const [index, { from = '', to = '' }] of failover.entries()) {
    const at = item(child(path, 'failover'), index);
    if (from === to) findings.error(at, 'locality lb failover settings must specify different regions');
    if (from.includes('/') || to.includes('/')) findings.error(at, 'locality lb failover only specify region');
    if (from.includes('*') || to.includes('*')) findings.error(at, "locality lb failover region should not contain '*' wildcard");
  }
};

/** `region[/zone[/subzone]]`, `*` only at the end; none may lie within another. */
export const checkLocalities = (localities: readonly string[]): string | undefined => {
  const seen: string[][] = [];
  for (const locality of localities) {
    const star = locality.indexOf('*');
    if (star !== -1 && star !== locality.length - 1) return `locality ${locality}: '*' may stand once, at the end`;
    const parts = locality.split('/').slice(0, 3);
    if (parts.includes('')) return `locality ${locality} must not contain empty region/zone/subzone info`;
    if (seen.some((other) => overlaps(other, parts))) return `locality ${locality} overlap with previous specified ones`;
    seen.push(parts);
  }
  return undefined;
};

const overlaps = (a: readonly string[], b: readonly string[]): boolean => {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const left = a[i];
    const right = b[i];
    if (left === undefined || right === undefined || left === '*' || right === '*') return true;
    if (left !== right) return false;
  }
  return true;
};
