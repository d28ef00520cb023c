// What the control plane says of configuration that proxies were not given, from translation to problem.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../../src/api/parse-documents.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { noteProblems } from '../../../src/control/xds/proxy-notes.ts';
import { ProxyConfigs } from '../../../src/control/xds/proxy-resources.ts';
import { buildSnapshot } from '../../../src/mesh/snapshot.ts';
import { parseNode } from '../../../src/translate/proxy-node.ts';
import { meshConfigOf } from '../../translate/mesh-fixture.ts';

const FILTER = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f, namespace: istio-system}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {cluster: {service: nobody.example.com}}
    patch: {operation: MERGE, value: {connect_timeout: 1s}}
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_FIRST
      value: {name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}
`;
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

const nodeOf = (name: string, address: string) => {
  const extensions = [{ name: HCM, type_urls: [`type.googleapis.com/${HCM}`] }];
  const node = parseNode({ id: `sidecar~${address}~${name}.shop~shop.svc.cluster.local`, user_agent_name: 'skein', extensions });
  assert.ok(node);
  return node;
};

test('patches that did nothing and patches that were held back are problems with file and line', () => {
  const { resources, problems } = parseDocuments('f.yaml', FILTER);
  assert.deepEqual(problems, []);
  const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf() });
  const configs = new ProxyConfigs(PIPELINE);
  const said = new Map(
    ['a', 'b'].map((name, i) => {
      const { said: notes } = configs.resources(snapshot, nodeOf(name, `10.0.0.${i + 1}`));
      assert.ok(notes);
      return [`${name}.shop`, notes] as const;
    }),
  );
  assert.deepEqual(
    noteProblems(said).map((p) => [p.code, p.file, p.line, p.message]),
    [
      ['PATCH_IDLE', 'f.yaml', 6, 'MERGE of CLUSTER changed nothing in any connected proxy that it selects'],
      [
        'PATCH_NOT_UNDERSTOOD',
        'f.yaml',
        13,
        'a.shop, b.shop cannot be given the patch, which needs envoy.extensions.filters.http.lua.v3.Lua',
      ],
    ],
  );
});

test('a patch that one proxy has from an older generation is not idle when another has applied it', () => {
  const reportOf = (yaml: string, address: string) => {
    const { resources } = parseDocuments('f.yaml', yaml);
    const { snapshot } = buildSnapshot({ resources, instances: [], meshConfig: meshConfigOf() });
    const { said } = new ProxyConfigs(PIPELINE).resources(snapshot, nodeOf('a', address));
    assert.ok(said);
    return said;
  };
  const older = reportOf(FILTER, '10.0.0.1');
  const newer = reportOf(FILTER.replace('nobody.example.com', ''), '10.0.0.2');
  const codes = noteProblems(new Map(Object.entries({ older, newer }))).map((p) => p.code);
  assert.ok(!codes.includes('PATCH_IDLE'), codes.join(' '));
});
