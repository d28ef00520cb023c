// Proto3 JSON of Envoy's messages: own cases, and every recorded resource of a real control plane there and back.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { decodeNamed, encodeNamed, typeOfUrl } from '../../src/xds/codec.ts';
import { descriptor } from '../../src/xds/descriptor.ts';
import { fromJson, fromJsonNamed, toJson, toJsonNamed } from '../../src/xds/json.ts';

const CLUSTER = 'envoy.config.cluster.v3.Cluster';

describe('proto JSON', () => {
  test('both name styles in, proto names out; bytes as base64; 64-bit numbers as text', () => {
    const message = fromJson(CLUSTER, { name: 'a', connectTimeout: '0.250s', lb_policy: 'RANDOM' });
    assert.deepEqual(message, { name: 'a', connect_timeout: '0.250s', lb_policy: 'RANDOM' });
    assert.deepEqual(toJson('envoy.config.core.v3.DataSource', { inline_bytes: new Uint8Array([0, 255]) }), { inline_bytes: 'AP8=' });
    const metric = fromJson('envoy.admin.v3.SimpleMetric', { name: 'm', value: '12' });
    assert.equal(metric.value, 12);
    assert.deepEqual(toJson('envoy.admin.v3.SimpleMetric', metric), { value: '12', name: 'm' });
  });

  test('refusals name the path', () => {
    const refuses = (json: unknown, message: RegExp): void => {
      assert.throws(() => fromJson(CLUSTER, json), message);
    };
    refuses({ loadAssignment: { endpoints: [{ lbEndpoint: [] }] } }, /loadAssignment\.endpoints\[0\]\.lbEndpoint: .* has no field/);
    refuses({ type: 'EDS', cluster_type: { name: 'x' } }, /cluster_type: excludes "type"/);
    refuses({ name: 'a', connect_timeout: '1s', connectTimeout: '2s' }, /connectTimeout: is given twice/);
    refuses(
      { transport_socket: { typed_config: { '@type': 'type.googleapis.com/no.Such' } } },
      /transport_socket\.typed_config: message type no\.Such is not known/,
    );
    refuses({ lb_policy: 'BEST' }, /lb_policy: "BEST" is no value/);
    refuses([], /wants an object/);
  });

  test('null is absence, a null Value is a value', () => {
    assert.deepEqual(fromJson(CLUSTER, { name: null }), {});
    const listed = fromJson('envoy.config.core.v3.Metadata', { filter_metadata: { a: { b: null } } });
    assert.deepEqual(listed, { filter_metadata: { a: { b: null } } });
  });
});

const shared = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');
const corpus = join(shared, 'oracle/xds.jsonl');

test('recorded resources survive JSON → message → bytes → message → JSON', {
  skip: existsSync(corpus) ? false : `no recordings at ${corpus} (set SKEIN_SHARED)`,
}, () => {
  let count = 0;
  for (const line of readFileSync(corpus, 'utf8').split('\n')) {
    if (line === '') continue;
    const record = JSON.parse(line) as { [k: string]: { '@type'?: string }[] | undefined };
    for (const list of ['clusters', 'listeners', 'routes', 'endpoints']) {
      for (const json of record[list] ?? []) {
        const type = typeOfUrl(json['@type'] ?? '');
        if (!descriptor(type)) continue;
        const { '@type': _, ...fields } = json;
        const message = fromJsonNamed(type, fields);
        const again = decodeNamed(type, encodeNamed(type, message));
        assert.deepEqual(toJsonNamed(type, again), toJsonNamed(type, message));
        count++;
      }
    }
  }
  assert.ok(count > 1000, `${count} resources`);
});
