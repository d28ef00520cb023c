// What an authorization server may say as a status: only what ends a request. Anything else is a denial as usual, and the connection
// goes on in step.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grpcAuthz } from './ext-authz-rig.ts';
import { hcm, listener, RawClient, ROUTER, startPlane, staticCluster } from './harness.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';

const FILTER = {
  name: 'envoy.filters.http.ext_authz',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz' as const,
    grpc_service: { envoy_grpc: { cluster_name: 'authz' }, timeout: '5s' },
  },
};

test('a denial with a status of 1xx is answered 403, and the next request is served', async () => {
  const codes = [100, 101, 103, 199, 0, 429];
  let n = 0;
  await using authz = await grpcAuthz(() => {
    const code = codes[n++];
    return code === undefined ? {} : { status: { code: 7 }, denied_response: { status: { code: code as 429 }, body: 'no' } };
  });
  await using plane = await startPlane({
    clusters: [staticCluster('authz', [authz.port], HTTP2_CLUSTER)],
    listeners: [listener('in', hcm([{ match: { prefix: '/' }, direct_response: { status: 200 } }], { http_filters: [FILTER, ROUTER] }))],
  });
  const client = await RawClient.open(plane.port('in'));
  const seen: number[] = [];
  for (let i = 0; i <= codes.length; i++) seen.push((await client.get('/')).status);
  client.close();
  assert.deepEqual(seen, [403, 403, 403, 403, 403, 429, 200]);
});
