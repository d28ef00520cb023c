// What parts of a data plane that make calls of their own live in, without traffic: a plane of some clusters and its environment.
import assert from 'node:assert/strict';
import type { DataPlane, DataPlaneOptions } from '../../src/proxy/data-plane.ts';
import type { HttpFilterFactory } from '../../src/proxy/filters/http-filter.ts';
import type { ProxyEnvironment } from '../../src/proxy/proxy-environment.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { hcm, listener, ROUTER, startPlane, toCluster } from './harness.ts';

export interface EnvironmentRig extends AsyncDisposable {
  readonly env: ProxyEnvironment;
  readonly plane: DataPlane;
}

export const startEnvironment = async (clusters: readonly Cluster[], options: Partial<DataPlaneOptions> = {}): Promise<EnvironmentRig> => {
  let env: ProxyEnvironment | undefined;
  const spy: HttpFilterFactory = {
    compile: (_config, _context, setting) => {
      env = setting.env;
      return {};
    },
  };
  const filter = { name: 'spy', typed_config: { '@type': 'type.googleapis.com/test.Spy' } };
  const rig = await startPlane(
    { clusters, listeners: [listener('in', hcm([toCluster('web')], { http_filters: [filter, ROUTER] }))] },
    { httpFilters: new Map([['test.Spy', spy]]), ...options },
  );
  assert.ok(env);
  return { env, plane: rig.plane, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
};
