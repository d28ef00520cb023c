// tables/pilot_pkg_serviceregistry_serviceentry.json: addresses that entries without addresses get.

import { autoAddresses } from '../../../src/mesh/auto-address.ts';
import type { Resolution } from '../../../src/mesh/service.ts';
import { differs, type Row, row, rows, text, type Verdict } from './case.ts';
import { table } from './table.ts';

const RESOLUTIONS: readonly Resolution[] = ['listed', 'dns', 'passthrough', 'dns-round-robin', 'listed', 'dynamic-dns'];

const allocation = (r: Row): Verdict => {
  const services = rows(r['inServices']).map((s) => {
    const address = text(s['DefaultAddress']);
    return {
      host: text(s['Hostname']),
      namespace: text(row(s['Attributes'])['Namespace']),
      registry: 'External' as const,
      resolution: RESOLUTIONS[Number(s['Resolution'] ?? 0)] ?? 'listed',
      addresses: address === '' || address === '0.0.0.0' ? [] : [address],
    };
  });
  const given = autoAddresses(services);
  const got = services.map((s) => given.get(`${s.namespace}/${s.host}`) ?? { v4: '', v6: '' });
  const wanted = rows(r['wantServices']).map((s) => ({
    v4: text(s['AutoAllocatedIPv4Address']),
    v6: text(s['AutoAllocatedIPv6Address']),
  }));
  return differs(got, wanted);
};

export const serviceEntryAddresses = table({ Test_legacyAutoAllocateIP_conditions: allocation });
