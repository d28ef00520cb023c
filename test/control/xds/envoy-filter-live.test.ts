// EnvoyFilter live: control plane and a real Envoy. A limit that is discovered by name and one for a route answer 429, and patches that do
// nothing are told over the admin API.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { freePort } from '../../free-port.ts';
import { startRig } from '../rig.ts';

const ENVOY = [process.env['ENVOY'], join(process.env['HOME'] ?? '/root', '.cache/skein-test/envoy')].find(
  (p) => p !== undefined && existsSync(p) && spawnSync(p, ['--version']).status === 0,
);

const LIMIT = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
const ALWAYS = '{default_value: {numerator: 100, denominator: HUNDRED}}';
const limit = (tokens: number): string =>
  `"@type": ${LIMIT}, stat_prefix: x, filter_enabled: ${ALWAYS}, filter_enforced: ${ALWAYS}, token_bucket: {max_tokens: ${tokens}, tokens_per_fill: ${tokens}, fill_interval: 60s}`;

const mesh = (port: number): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: gw}, servers: [{port: {number: ${port}, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: istio-system}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
  - {name: strict, match: [{uri: {prefix: /strict}}], directResponse: {status: 200}}
  - {name: loose, directResponse: {status: 200}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limits, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: gw}}
  configPatches:
  - applyTo: EXTENSION_CONFIG
    patch: {operation: ADD, value: {name: found, typed_config: {${limit(3)}}}}
  - applyTo: HTTP_FILTER
    match: {context: GATEWAY}
    patch:
      operation: INSERT_FIRST
      value: {name: found, config_discovery: {config_source: {ads: {}, resource_api_version: V3}, type_urls: [${LIMIT}]}}
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY, routeConfiguration: {vhost: {route: {name: strict}}}}
    patch: {operation: MERGE, value: {typed_per_filter_config: {found: {${limit(1)}}}}}
  - applyTo: CLUSTER
    match: {context: GATEWAY, cluster: {service: nobody}}
    patch: {operation: REMOVE}
`;

const bootstrap = (xdsPort: number) => ({
  node: { id: 'router~127.0.0.1~gw.istio-system~istio-system.svc.cluster.local', cluster: 'gw', metadata: { LABELS: { istio: 'gw' } } },
  dynamic_resources: {
    ads_config: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] },
    cds_config: { ads: {}, resource_api_version: 'V3' },
    lds_config: { ads: {}, resource_api_version: 'V3' },
  },
  static_resources: {
    clusters: [
      {
        name: 'xds',
        type: 'STATIC',
        connect_timeout: '1s',
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            explicit_http_config: { http2_protocol_options: {} },
          },
        },
        load_assignment: {
          cluster_name: 'xds',
          endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: xdsPort } } } }] }],
        },
      },
    ],
  },
});

test('limits from EnvoyFilters answer 429 in a real Envoy, an idle patch is told', {
  skip: ENVOY === undefined ? 'no Envoy is here' : false,
}, async () => {
  const [port, xdsPort] = [await freePort(), await freePort()];
  const rig = await startRig({ 'mesh.yaml': mesh(port) }, { pipeline: PIPELINE, insecure: true, xds: [`127.0.0.1:${xdsPort}`] });
  const file = join(rig.root, 'envoy.json');
  writeFileSync(file, JSON.stringify(bootstrap(xdsPort)));
  const envoy = spawn(ENVOY ?? '', ['-c', file, '-l', 'off', '--disable-hot-restart', '--concurrency', '1'], {
    stdio: 'ignore',
  });
  try {
    const status = async (path: string): Promise<number | undefined> => {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`);
        await answer.arrayBuffer();
        return answer.status;
      } catch {
        return undefined;
      }
    };
    const until = Date.now() + 20_000;
    let first = await status('/strict');
    while (first === undefined && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      first = await status('/strict');
    }
    assert.equal(first, 200, rig.log.join('\n'));
    assert.equal(await status('/strict'), 429, 'one a minute on this route');
    assert.deepEqual([await status('/'), await status('/'), await status('/'), await status('/')], [200, 200, 200, 429]);
    const { body } = await rig.admin('GET', '/v1/status');
    const idle = JSON.stringify(body).match(/PATCH_IDLE[^}]*spec\.configPatches\[3\]/);
    assert.ok(idle, JSON.stringify(body));
  } finally {
    envoy.kill('SIGKILL');
    await rig.close();
  }
});
