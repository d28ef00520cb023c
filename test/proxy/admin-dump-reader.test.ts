// /config_dump read by someone else: Envoy's .proto files in protobufjs. Every key must be a field of its message, every
// enum value known, every Any of a type that exists, all the way down.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import protobuf from 'protobufjs';
import { createLog } from '../../src/base/log.ts';
import { MetricRegistry } from '../../src/base/metrics.ts';
import { handleAdmin } from '../../src/proxy/admin/admin-api.ts';
import { announcedNode } from '../../src/proxy/bootstrap/node.ts';
import { ResourceStore } from '../../src/proxy/xds/resource-store.ts';
import { encodeNamed } from '../../src/xds/codec.ts';
import { fromJsonNamed } from '../../src/xds/json.ts';
import { FakeDataPlane } from './xds-fake-data-plane.ts';
import { assignment, dynamicBootstrap, edsCluster, ManualClock, rdsListener, TYPES } from './xds-fixture.ts';

const deps = join(import.meta.dirname, '../../node_modules/@grpc/grpc-js-xds/deps');

const loadTree = (): protobuf.Root => {
  const tree = new protobuf.Root();
  const folders = ['envoy-api', 'googleapis', 'protoc-gen-validate', 'xds'].map((d) => join(deps, d));
  tree.resolvePath = (_origin, target) => {
    if (
      /^(validate\/|google\/api\/|envoy\/annotations\/|udpa\/annotations\/|xds\/annotations\/|opencensus\/|prometheus\/|google\/protobuf\/descriptor)/.test(
        target,
      )
    )
      return null;
    return folders.map((f) => join(f, target)).find((f) => existsSync(f)) ?? target;
  };
  tree.loadSync(
    [
      'envoy/admin/v3/config_dump.proto',
      'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto',
      'envoy/extensions/transport_sockets/tls/v3/tls.proto',
    ],
    { keepCase: true },
  );
  return tree;
};

const WRAPPER = /^google\.protobuf\.(\w+Value|Duration|Timestamp|Struct|ListValue|NullValue)$/;

/** Throws on anything that the messages do not have. Counts the messages read. */
const readMessage = (tree: protobuf.Root, type: string, json: unknown, path: string): number => {
  if (type === 'google.protobuf.Any') {
    const { '@type': url, ...rest } = json as { '@type': string };
    assert.match(url, /^type\.googleapis\.com\//, path);
    return readMessage(tree, url.slice(url.indexOf('/') + 1), rest, `${path}<${url}>`);
  }
  if (WRAPPER.test(type)) return 0;
  const message = tree.lookupType(type);
  let count = 1;
  for (const [key, value] of Object.entries(json as Record<string, unknown>)) {
    const field = message.fields[key];
    assert.ok(field, `${path}: ${type} has no field ${key}`);
    field.resolve();
    const values = field instanceof protobuf.MapField ? Object.values(value as object) : field.repeated ? (value as unknown[]) : [value];
    for (const v of values) {
      const resolved = field.resolvedType;
      if (resolved instanceof protobuf.Enum)
        assert.ok(typeof v === 'number' || String(v) in resolved.values, `${path}.${key}: ${String(v)}`);
      else if (resolved instanceof protobuf.Type) count += readMessage(tree, resolved.fullName.slice(1), v, `${path}.${key}`);
    }
  }
  return count;
};

test('a reader made from Envoy’s own files understands the whole dump', () => {
  const dataPlane = new FakeDataPlane();
  const store = new ResourceStore();
  const clock = new ManualClock();
  const put = (type: { url: string }, name: string): void => store.accept(type.url, name, 'v', 'f', clock.now);
  dataPlane.setCluster(
    edsCluster('web', { connect_timeout: '1.5s', lb_policy: 'LEAST_REQUEST', circuit_breakers: { thresholds: [{ max_connections: 7 }] } }),
  );
  dataPlane.setEndpoints(assignment('web'));
  dataPlane.setListener(rdsListener('l', 'r'));
  dataPlane.setRoutes({
    name: 'r',
    virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'web', timeout: '0s' } }] }],
  });
  dataPlane.setSecret({ name: 's', validation_context: { trusted_ca: { inline_string: 'pem' } } });
  put(TYPES.CLUSTER_TYPE, 'web');
  put(TYPES.ENDPOINT_TYPE, 'web');
  put(TYPES.LISTENER_TYPE, 'l');
  put(TYPES.ROUTE_TYPE, 'r');
  put(TYPES.SECRET_TYPE, 's');
  const bootstrap = dynamicBootstrap();
  const answer = handleAdmin(
    {
      bootstrap: { ...bootstrap, node: announcedNode(bootstrap.node, '1.2.3') },
      dataPlane,
      store,
      metrics: new MetricRegistry(),
      log: createLog(
        't',
        () => undefined,
        () => new Date(0),
      ),
      clock,
      startedAtMs: clock.now,
      version: '',
      commandLine: {},
      state: () => 'LIVE',
      refreshStats: () => undefined,
      drainListeners: () => undefined,
      hotRestart: () => '',
      hotRestartStatus: () => ({}),
      setHealthFailed: () => undefined,
      reopenLogs: () => undefined,
      quit: () => undefined,
    },
    { method: 'GET', path: '/config_dump?include_eds', body: '' },
  );
  const json: unknown = JSON.parse(answer.body);
  const tree = loadTree();
  const count = readMessage(tree, 'envoy.admin.v3.ConfigDump', json, 'config_dump');
  assert.ok(count > 40, `${count} messages`);
  // And as bytes: what our codec writes, theirs decodes to the same names.
  const bytes = encodeNamed('envoy.admin.v3.ConfigDump', fromJsonNamed('envoy.admin.v3.ConfigDump', json));
  const theirs = tree.lookupType('envoy.admin.v3.ConfigDump').decode(bytes) as unknown as { configs: { type_url: string }[] };
  assert.deepEqual(
    theirs.configs.map((c) => c.type_url),
    (json as { configs: { '@type': string }[] }).configs.map((c) => c['@type']),
  );
});
