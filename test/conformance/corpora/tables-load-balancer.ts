// tables/pilot_pkg_networking_core_loadbalancer.json: which setting of localities is in force: the rule's, the service's or the mesh's.

import type { MeshConfig } from '../../../src/api/mesh-config/mesh-config.ts';
import type { LoadBalancerSettings } from '../../../src/api/specs.ts';
import { localityChoice } from '../../../src/translate/load-balancing.ts';
import { differs, row } from './case.ts';
import { table } from './table.ts';

const DISTRIBUTIONS = ['any', 'zone', 'node'] as const;

/** Of what is written, without what is absent. */
const written = (value: unknown): object | undefined => (typeof value === 'object' && value !== null ? value : undefined);

export const coreLoadBalancer = table({
  TestGetEffectiveLbSetting: (r) => {
    const zones = written(r['meshZoneAware']);
    const mesh = {
      localityLbSetting: written(r['meshLocality']) ?? { enabled: false },
      ...(zones === undefined ? {} : { zoneAwareLbSetting: zones }),
    } as Pick<MeshConfig, 'localityLbSetting' | 'zoneAwareLbSetting'>;
    const asked = Number(row(row(row(r['svc'])['Attributes'])['K8sAttributes'])['TrafficDistribution'] ?? 0);
    const got = localityChoice(mesh, written(r['dr']) as LoadBalancerSettings | undefined, DISTRIBUTIONS[asked] ?? 'any');
    const routes = r['expectedRoutingEnabled'] === true;
    return differs(
      { locality: got.locality, zones: got.zones, forced: got.forced },
      // A zone setting that is switched off is as good as none.
      { locality: written(r['expectedLocality']), zones: routes ? r['expectedZoneAware'] : undefined, forced: r['expectedForce'] === true },
    );
  },
});
