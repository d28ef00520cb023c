// The control plane's benchmark: what its clients read of a response, its configuration, and the arithmetic of its phases.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { endpointsNameOf, readResponse, routeNamesOf, writeRequest } from '../../bench/control/delta-messages.ts';
import { clientNode, configFiles } from '../../bench/control/folder.ts';
import { OptionError, parseOptions } from '../../bench/control/options.ts';
import { markdown, medianRound, phaseOf } from '../../bench/control/report.ts';
import { hasErrors } from '../../src/api/problem.ts';
import { PIPELINE } from '../../src/control/pipeline.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import { deltaResources, deltaTail } from '../../src/xds/envelope.ts';
import { CLUSTER_TYPE } from '../../src/xds/resource-types.ts';

const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

describe('a measuring client', () => {
  test('reads names, bodies and removals of a response', () => {
    const bytes = encode('envoy.config.cluster.v3.Cluster', { name: 'a' });
    const block = deltaResources([{ name: 'a', version: '1', bytes }], CLUSTER_TYPE.url);
    const tail = deltaTail({ typeUrl: CLUSTER_TYPE.url, version: 'v', nonce: '7', removed: ['b'] });
    const r = readResponse(Buffer.concat([block, tail]));
    assert.deepEqual([r.typeUrl, r.nonce, r.removed], [CLUSTER_TYPE.url, '7', ['b']]);
    assert.deepEqual(
      r.resources.map(({ name, body }) => [name, Buffer.from(body)]),
      [['a', Buffer.from(bytes)]],
    );
  });

  test('writes a request that a server can read', () => {
    const request = decode(
      'envoy.service.discovery.v3.DeltaDiscoveryRequest',
      writeRequest({ typeUrl: 't', subscribe: ['a'], nonce: '3', node: clientNode(3, 10) }),
    );
    assert.deepEqual([request.type_url, request.resource_names_subscribe, request.response_nonce], ['t', ['a'], '3']);
    assert.ok(PIPELINE.parseNode(request.node ?? {}));
  });

  test('asks for the endpoints of EDS clusters only, by the name they go by', () => {
    const of = (cluster: object): string | undefined => endpointsNameOf(encode('envoy.config.cluster.v3.Cluster', cluster));
    assert.equal(of({ name: 'a', type: 'EDS' }), 'a');
    assert.equal(of({ name: 'a', type: 'EDS', eds_cluster_config: { service_name: 'b' } }), 'b');
    assert.equal(of({ name: 'a', type: 'STRICT_DNS' }), undefined);
    assert.equal(of({ name: 'a', connect_timeout: '1s' }), undefined);
  });

  test('finds the routes that the connection managers of a listener ask for', () => {
    const manager = (name: string) => ({
      filters: [
        { name: 'http', typed_config: { '@type': HCM, stat_prefix: 'x', rds: { route_config_name: name, config_source: { ads: {} } } } },
      ],
    });
    const bytes = encode('envoy.config.listener.v3.Listener', { name: 'l', filter_chains: [manager('80'), manager('81')] });
    assert.deepEqual(routeNamesOf(bytes), ['80', '81']);
  });
});

describe('the benchmark of the control plane', () => {
  test('its configuration is valid, one file an object', () => {
    const files = configFiles(10);
    assert.equal(files.length, 20);
    assert.equal(new Set(files.map((f) => f.name)).size, 20);
    for (const { name, text } of files) {
      const { resources, problems } = PIPELINE.parseDocuments(name, text, {});
      assert.ok(resources.length === 1 && !hasErrors(problems), JSON.stringify(problems));
    }
  });

  test('options are checked', () => {
    assert.equal(parseOptions(['--n', '300']).clients, 300);
    assert.deepEqual(
      [parseOptions(['--address', '10.0.0.1:15010']).host, parseOptions(['--address', '10.0.0.1:15010']).port],
      ['10.0.0.1', 15010],
    );
    assert.throws(() => parseOptions(['--n', '0']), OptionError);
    assert.throws(() => parseOptions(['--address', 'nowhere']), OptionError);
  });

  test('a phase is told by its slowest clients, a phase of several rounds by its median round', () => {
    const cost = { cpuSeconds: 1, rssMb: 2, peakMb: 3 };
    const at = Array.from({ length: 100 }, (_, i) => 1000 + (i + 1) * 10);
    const phase = phaseOf('x', { at, bytes: [10, 30], responses: 2 }, 1000, cost);
    assert.deepEqual([phase.p50, phase.p99, phase.last, phase.bytesPerClient], [0.5, 0.99, 1, 20]);
    const rounds = [3, 1, 2].map((last) => ({ ...phase, last }));
    assert.equal(medianRound(rounds).last, 2);
    const text = markdown({ n: 1, clients: 2, control: 'cmd', machine: 'm', date: 'd', phases: [phase] });
    assert.ok(text.includes('| x | 0.500 | 0.990 | 1.000 | 0.0 KiB | 2 | 1.00 | 2 | 3 |'), text);
  });
});
