// tables/pilot_pkg_networking_util.json: subnets, localities, traffic policies of subsets.

import type { Subset, TrafficPolicy } from '../../../src/api/specs.ts';
import { checkSubnet } from '../../../src/api/values/ip-text.ts';
import { parseRange } from '../../../src/mesh/cidr.ts';
import type { MergedRule } from '../../../src/mesh/destination-rules.ts';
import { parseLocality } from '../../../src/mesh/service.ts';
import { localityMatches } from '../../../src/translate/locality.ts';
import { trafficPolicy } from '../../../src/translate/traffic-policy.ts';
import { differs, leftOut, type Row, row, text, type Verdict } from './case.ts';
import { table } from './table.ts';

const locality = (r: Row): Verdict => {
  const { region, zone, subzone } = parseLocality(text(r['locality']));
  const got = { Region: region, Zone: zone, SubZone: subzone };
  return differs(got, { Region: '', Zone: '', SubZone: '', ...row(r['want']) });
};

const merge = (r: Row): Verdict => {
  const rule = r['original'] === null ? undefined : ({ spec: { trafficPolicy: r['original'] as TrafficPolicy } } as unknown as MergedRule);
  const subset = r['subset'] === null ? undefined : ({ name: 'v1', trafficPolicy: r['subset'] as TrafficPolicy } as Subset);
  const { portLevelSettings: _, ...got } = trafficPolicy(rule, subset, Number(row(r['port'])['Port'] ?? 0));
  const { portLevelSettings: __, ...want } = row(r['expected']);
  return differs(got, want);
};

const printing = leftOut('how Go code prints sizes and addresses');

export const networkingUtil = table({
  TestConvertAddressToCidr: (r) => {
    const written = text(r['addr']);
    const { address, length } = parseRange(written);
    return differs(checkSubnet(written) === undefined ? { AddressPrefix: address, PrefixLen: length } : null, r['want']);
  },
  TestConvertLocality: locality,
  TestLocalityMatch: (r) => {
    const { Region, Zone, SubZone } = row(r['locality']);
    const own = { region: text(Region), zone: text(Zone), subzone: text(SubZone) };
    return differs(localityMatches(own, text(r['rule'])), r['match']);
  },
  TestMergeSubsetTrafficPolicy: merge,
  TestByteCount: printing,
  TestIPv6Compliant: printing,
  TestDomainName: printing,
});
