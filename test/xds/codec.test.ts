// The codec against protobufjs (another implementation, from the same .proto files) and against its own promises.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import protobuf from 'protobufjs';
import { CodecError, decode, decodeNamed, encode, encodeNamed, typeOfUrl, typeUrl } from '../../src/xds/codec.ts';
import { EncodedMessage } from '../../src/xds/encoded-message.ts';
import { readResponse, writeResponse } from '../../src/xds/envelope.ts';
import type { Cluster } from '../../src/xds/gen/types.ts';
import { CLUSTER_TYPE } from '../../src/xds/resource-types.ts';
import { durationMs, msDuration } from '../../src/xds/well-known.ts';

const CLUSTER = 'envoy.config.cluster.v3.Cluster';

const theirs = (type: string): protobuf.Type => {
  const deps = join(import.meta.dirname, '../../node_modules/@grpc/grpc-js-xds/deps');
  const tree = new protobuf.Root();
  tree.resolvePath = (_origin, target) => {
    if (/^(validate\/|envoy\/annotations\/|udpa\/annotations\/|xds\/annotations\/|google\/api\/|google\/protobuf\/descriptor)/.test(target))
      return null;
    return ['envoy-api', 'googleapis', 'xds'].map((f) => join(deps, f, target)).find((f) => existsSync(f)) ?? target;
  };
  tree.loadSync(['envoy/config/cluster/v3/cluster.proto', 'envoy/service/discovery/v3/discovery.proto'], { keepCase: true });
  return tree.lookupType(type);
};

const cluster: Cluster = {
  name: 'web',
  type: 'EDS',
  connect_timeout: '1.500s',
  lb_policy: 'LEAST_REQUEST',
  circuit_breakers: { thresholds: [{ max_connections: 0, max_retries: 4_294_967_295 }] },
  metadata: { filter_metadata: { istio: { n: null, list: [1, 'a', true, { deep: -0.5 }] } } },
  typed_extension_protocol_options: {
    x: {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http_protocol_options: {} },
    },
    unknown: { type_url: 'type.googleapis.com/no.Such', value: new Uint8Array([1, 2]) },
  },
};

describe('codec', () => {
  test('what it writes it reads, and equal objects give equal bytes', () => {
    const bytes = encode(CLUSTER, cluster);
    assert.deepEqual(decode(CLUSTER, bytes), cluster);
    const shuffled = Object.fromEntries(Object.entries(cluster).reverse()) as Cluster;
    assert.deepEqual(encode(CLUSTER, shuffled), bytes);
  });

  test('a message that is encoded already stands for its object', () => {
    const thresholds = { max_connections: 7, max_retries: 0 };
    const type = 'envoy.config.cluster.v3.CircuitBreakers.Thresholds';
    const known = new EncodedMessage(type, encode(type, thresholds), 'hash');
    const of = (t: unknown): Cluster => ({ ...cluster, circuit_breakers: { thresholds: [{}, t, {}] } }) as Cluster;
    assert.deepEqual(encode(CLUSTER, of(known)), encode(CLUSTER, of(thresholds)));
    const other = new EncodedMessage('envoy.config.core.v3.Address', new Uint8Array(), 'hash');
    assert.throws(() => encode(CLUSTER, of(other)), /circuit_breakers.thresholds\[1\]: envoy.config.core.v3.Address is no/);
  });

  test('another implementation reads what it writes, and the other way round', () => {
    const type = theirs(CLUSTER);
    const read = type.toObject(type.decode(encode(CLUSTER, cluster)), { enums: String, longs: Number });
    assert.equal(read['name'], 'web');
    assert.deepEqual(read['connect_timeout'], { seconds: 1, nanos: 500_000_000 });
    assert.equal(read['lb_policy'], 'LEAST_REQUEST');
    assert.deepEqual(read['circuit_breakers'].thresholds[0].max_connections, {});
    assert.equal(read['circuit_breakers'].thresholds[0].max_retries.value, 4_294_967_295);
    const bytes = type
      .encode(type.fromObject({ name: 'x', type: 'STRICT_DNS', respect_dns_ttl: true, dns_refresh_rate: { seconds: 5 } }))
      .finish();
    assert.deepEqual(decode(CLUSTER, bytes), { name: 'x', type: 'STRICT_DNS', respect_dns_ttl: true, dns_refresh_rate: '5s' });
  });

  test('a oneof keeps its last member; unknown fields are told and skipped', () => {
    const a = encode(CLUSTER, { type: 'EDS' });
    const b = encode(CLUSTER, { cluster_type: { name: 'custom' } });
    assert.deepEqual(decode(CLUSTER, new Uint8Array([...a, ...b])), { cluster_type: { name: 'custom' } });
    const unknown: string[] = [];
    const bytes = new Uint8Array([0xfa, 0xff, 0x01, 0x01, 0x78, ...encode(CLUSTER, { name: 'n' })]);
    assert.deepEqual(decode(CLUSTER, bytes, { onUnknownField: (p) => unknown.push(p) }), { name: 'n' });
    assert.equal(unknown.length, 1);
  });

  test('malformed bytes and objects that do not fit are refused with the path', () => {
    for (const bytes of [[0x0a], [0x0a, 0x05, 0x61], [0xff], [0x08, 0x01], [0x22, 0x02, 0x08]]) {
      assert.throws(() => decode(CLUSTER, new Uint8Array(bytes)), CodecError, bytes.join());
    }
    const refuses = (object: unknown, message: RegExp): void => {
      assert.throws(() => encodeNamed(CLUSTER, object), message);
    };
    refuses({ nmae: 'x' }, /no field "nmae"/);
    refuses({ name: 1 }, /^CodecError: name|name: wants a string/);
    refuses({ type: 'NO_SUCH' }, /type: "NO_SUCH" is no value of/);
    refuses({ connect_timeout: '1 minute' }, /connect_timeout: .* is not a duration/);
    refuses({ circuit_breakers: { thresholds: [{}, { max_retries: -1 }] } }, /circuit_breakers\.thresholds\[1\]\.max_retries/);
    assert.throws(() => decodeNamed('no.such.Type', new Uint8Array()), RangeError);
  });

  test('durations and type URLs', () => {
    assert.equal(durationMs('1.5s'), 1500);
    assert.equal(durationMs(undefined), undefined);
    assert.equal(msDuration(1500), '1.500s');
    assert.equal(msDuration(-250), '-0.250s');
    assert.throws(() => durationMs('5'), RangeError);
    assert.equal(typeOfUrl(typeUrl(CLUSTER)), CLUSTER);
  });
});

describe('discovery envelope', () => {
  test('reads what it writes, as another implementation does', () => {
    const one = encode(CLUSTER, { name: 'a' });
    const bytes = writeResponse({ typeUrl: CLUSTER_TYPE.url, versionInfo: 'v', nonce: 'n', resources: [one], controlPlane: 'cp' });
    const read = readResponse(bytes);
    assert.deepEqual([read.typeUrl, read.versionInfo, read.nonce, read.resources.map((r) => r.name)], [CLUSTER_TYPE.url, 'v', 'n', ['a']]);
    assert.deepEqual(decode('envoy.service.discovery.v3.DiscoveryResponse', bytes), {
      version_info: 'v',
      resources: [{ '@type': CLUSTER_TYPE.url, name: 'a' }],
      type_url: CLUSTER_TYPE.url,
      nonce: 'n',
      control_plane: { identifier: 'cp' },
    });
    const type = theirs('envoy.service.discovery.v3.DiscoveryResponse');
    assert.equal((type.decode(bytes) as unknown as { version_info: string }).version_info, 'v');
  });

  test('a resource in a Resource wrapper counts as itself', () => {
    const response = encode('envoy.service.discovery.v3.DiscoveryResponse', {
      type_url: CLUSTER_TYPE.url,
      resources: [
        {
          '@type': 'type.googleapis.com/envoy.service.discovery.v3.Resource',
          name: 'w',
          resource: { '@type': CLUSTER_TYPE.url, name: 'w', alt_stat_name: 'x' },
        },
      ],
    });
    const [resource] = readResponse(response).resources;
    assert.equal(resource?.typeUrl, CLUSTER_TYPE.url);
    assert.equal(resource?.name, 'w');
    assert.deepEqual(decode(CLUSTER, resource?.bytes ?? new Uint8Array()), { name: 'w', alt_stat_name: 'x' });
  });
});
