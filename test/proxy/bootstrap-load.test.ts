// Bootstraps as Envoy takes them: JSON and YAML, both name styles, refusals by path.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { grpcTarget } from '../../src/proxy/bootstrap/grpc-target.ts';
import { loadBootstrap } from '../../src/proxy/bootstrap/load-bootstrap.ts';
import { announcedNode } from '../../src/proxy/bootstrap/node.ts';

const YAML = `
node: {id: n, cluster: c}
admin:
  address: {socketAddress: {address: 127.0.0.1, portValue: 9901}}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    load_assignment:
      cluster_name: xds
      endpoints:
      - lbEndpoints:
        - endpoint: {address: {pipe: {path: /run/xds.sock}}}
`;

describe('bootstrap', () => {
  test('YAML and JSON, proto and lowerCamel names', async () => {
    const fromYaml = await loadBootstrap(YAML);
    assert.equal(fromYaml.bootstrap.admin?.address?.socket_address?.port_value, 9901);
    const fromJson = await loadBootstrap(JSON.stringify(fromYaml.bootstrap));
    assert.deepEqual(fromJson.bootstrap, fromYaml.bootstrap);
    const flow = await loadBootstrap('{node: {id: x}}');
    assert.equal(flow.bootstrap.node?.id, 'x');
  });

  test('an overlay replaces fields and appends to lists', async () => {
    const { bootstrap } = await loadBootstrap(YAML, 'node: {cluster: d}\nstatic_resources: {clusters: [{name: second}]}');
    assert.deepEqual(bootstrap.node, { id: 'n', cluster: 'd' });
    assert.deepEqual(
      bootstrap.static_resources?.clusters?.map((c) => c.name),
      ['xds', 'second'],
    );
  });

  test('unknown fields and what someone relies on are refused by path', async () => {
    await assert.rejects(loadBootstrap('{"static_resources": {"clusters": [{"nmae": "x"}]}}'), /static_resources\.clusters\[0\]\.nmae/);
    await assert.rejects(loadBootstrap('{"stats_sinks": [{"name": "x"}]}'), /stats_sinks\[0\]: sink x is not supported/);
    await assert.rejects(
      loadBootstrap('{"layered_runtime": {"layers": [{"name": "r", "rtds_layer": {"name": "x"}}]}}'),
      /layers\[0\]\.rtds_layer: is not supported/,
    );
    await assert.rejects(loadBootstrap('[1]'), /no object/);
    await assert.rejects(loadBootstrap('a: [b'), /neither JSON nor YAML/);
  });

  test('what changes nothing is accepted and named', async () => {
    const { bootstrap, inert } = await loadBootstrap(
      JSON.stringify({
        overload_manager: { resource_monitors: [{ name: 'x', typed_config: { '@type': 'type.googleapis.com/a.b.C' } }] },
        layered_runtime: { layers: [{ name: 's', static_layer: { 'a.b': 1 } }] },
        stats_sinks: [],
      }),
    );
    assert.deepEqual([...inert].sort(), ['layered_runtime']);
    assert.deepEqual(bootstrap.layered_runtime?.layers?.[0]?.static_layer, { 'a.b': 1 });
  });

  test('the node announces who we are and what we honour; flags win', () => {
    const node = announcedNode({ id: 'file', cluster: 'file', metadata: { A: 'b' } }, '1.2.3', { id: 'flag' });
    assert.equal(node.id, 'flag');
    assert.equal(node.cluster, 'file');
    assert.equal(node.user_agent_name, 'skein');
    assert.deepEqual(node.user_agent_build_version?.version, { major_number: 1, minor_number: 2, patch: 3 });
    const urls = new Set(node.extensions?.flatMap((e) => e.type_urls ?? []));
    assert.ok(urls.has('type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'));
    assert.ok(urls.has('type.googleapis.com/stats.PluginConfig'));
  });

  test('a cluster as a gRPC target', async () => {
    const { bootstrap } = await loadBootstrap(YAML);
    assert.deepEqual(grpcTarget(bootstrap, 'xds'), { address: { path: '/run/xds.sock' }, tls: undefined, connectTimeoutMs: 1000 });
    assert.throws(() => grpcTarget(bootstrap, 'other'), /no cluster is called other/);
  });
});
