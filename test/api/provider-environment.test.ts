// Header values of providers that stand in the environment of the control plane.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultMeshConfig, parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { fromEnvironment } from '../../src/api/mesh-config/provider-environment.ts';

const read = (provider: Record<string, unknown>) => {
  const mesh = parseMeshConfig('m.yaml', JSON.stringify({ extensionProviders: [{ name: 'p', ...provider }] }));
  assert.ok(mesh.ok, JSON.stringify(mesh));
  assert.deepEqual(mesh.value.problems, []);
  return mesh.value.config;
};
const at = { service: 'c.obs.svc.cluster.local', port: 4317 };
const TOKEN = { name: 'authorization', envName: 'TOKEN' };

test('a value is taken from the variable, wherever a provider writes headers', () => {
  const cases = [
    { zipkin: { ...at, headers: [TOKEN] } },
    { opentelemetry: { ...at, http: { path: '/v1', headers: [TOKEN] } } },
    { opentelemetry: { ...at, grpc: { initialMetadata: [TOKEN] } } },
    {
      opentelemetry: {
        ...at,
        dynatraceSampler: { tenant: 't', clusterId: 1, httpService: { ...at, http: { path: '/s', headers: [TOKEN] } } },
      },
    },
  ];
  for (const provider of cases) {
    const { config, missing } = fromEnvironment(read(provider), { TOKEN: 'secret' });
    const text = JSON.stringify(config.extensionProviders);
    assert.match(text, /"name":"authorization","value":"secret"/);
    assert.doesNotMatch(text, /envName/);
    assert.deepEqual(missing, []);
  }
});

test('a variable that is not set is named, and its header is empty', () => {
  const { config, missing } = fromEnvironment(read({ zipkin: { ...at, headers: [TOKEN, { name: 'x', value: 'y' }] } }), {});
  assert.deepEqual(missing, ['TOKEN']);
  assert.match(JSON.stringify(config.extensionProviders), /\[\{"name":"authorization","value":""\},\{"name":"x","value":"y"\}\]/);
});

test('settings without such headers stay the same object', () => {
  const mesh = defaultMeshConfig();
  assert.equal(fromEnvironment(mesh, {}).config, mesh);
});
