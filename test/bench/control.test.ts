// The control plane's benchmark: what its clients read of a response, its configuration, and the arithmetic of its phases.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { churnVerdict, type Sample, verdictLine } from '../../bench/control/churn-verdict.ts';
import { endpointsNameOf, readResponse, routeNamesOf, writeRequest } from '../../bench/control/delta-messages.ts';
import { churnEdit, churnSteadyAt, clientNode, configFiles } from '../../bench/control/folder.ts';
import { OptionError, parseOptions } from '../../bench/control/options.ts';
import { churnMarkdown, markdown, medianRound, phaseOf } from '../../bench/control/report.ts';
import { scaleMarkdown } from '../../bench/control/scale-report.ts';
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

const samples = (seconds: number, rssMb: (at: number) => number): Sample[] =>
  Array.from({ length: seconds / 2 }, (_, i) => ({ seconds: i * 2, edits: i * 20, cpuSeconds: i, rssMb: rssMb(i * 2), peakMb: 999 }));
const sawtooth = (at: number): number => 300 + ((at * 7) % 90);

describe('memory under churn', () => {
  test('a heap that goes up and down is flat, and so is one that grew while it warmed up', () => {
    const { verdict, thirdsMb, warmUpSeconds } = churnVerdict(samples(600, sawtooth), 511);
    assert.deepEqual([verdict, thirdsMb.length, warmUpSeconds], ['flat', 3, 120]);
    assert.equal(
      churnVerdict(
        samples(600, (at) => sawtooth(at) + Math.min(at, 120)),
        511,
      ).verdict,
      'flat',
    );
    assert.equal(
      churnVerdict(
        samples(600, (at) => (at > 590 ? 900 : sawtooth(at))),
        511,
      ).verdict,
      'flat',
    );
  });

  test('a slow rise below the teeth is growth', () => {
    const judged = churnVerdict(
      samples(600, (at) => sawtooth(at) + at * 0.2),
      511,
    );
    assert.equal(judged.verdict, 'grew');
    assert.match(verdictLine(judged), /^memory GROWS: medians of the thirds after 120 s of warm-up \d+, \d+, \d+ MB, allowance \d+ MB$/);
  });

  test('there is no verdict before as many objects go as come, nor of less than two minutes', () => {
    assert.equal(churnVerdict(samples(230, sawtooth), 511).verdict, 'too short');
    assert.equal(churnVerdict(samples(600, sawtooth), 1_000_000).verdict, 'too short');
    assert.match(verdictLine(churnVerdict([], 511)), /^no verdict/);
  });

  test('the number of objects stands still after the edits that it is said to', () => {
    for (const n of [100, 300]) {
      const files = new Set(configFiles(n).map((f) => f.name));
      const sizes: number[] = [];
      for (let edit = 0; edit < churnSteadyAt(n) + 500; edit++) {
        for (const { name, text } of churnEdit(edit, n)) {
          if (text === undefined) files.delete(name);
          else files.add(name);
        }
        sizes.push(files.size);
      }
      const after = sizes.slice(churnSteadyAt(n));
      assert.ok(Math.max(...after) - Math.min(...after) <= 1, `${Math.min(...after)} to ${Math.max(...after)}`);
    }
  });

  test('is told with a row for each half minute', () => {
    const of = samples(600, sawtooth);
    const setting = { n: 1, clients: 2, control: 'cmd', machine: 'm', date: 'd' };
    const text = churnMarkdown({ ...setting, samples: of, verdict: churnVerdict(of, 511) });
    assert.equal(text.split('\n').filter((line) => /^\| \d/.test(line)).length, 20);
  });
});

describe('the table by size', () => {
  test('is what is measured unless one size is named', () => {
    assert.deepEqual(parseOptions([]).scale?.at(-1), { n: 3000, clients: 300 });
    assert.deepEqual(parseOptions(['--scale', '10x20, 30x40']).scale, [
      { n: 10, clients: 20 },
      { n: 30, clients: 40 },
    ]);
    for (const one of [
      ['--n', '5'],
      ['--churn', '1'],
      ['--clients', '7'],
    ])
      assert.equal(parseOptions(one).scale, undefined);
    assert.throws(() => parseOptions(['--scale', 'all']), OptionError);
    assert.throws(() => parseOptions(['--scale', '10x20', '--n', '5']), OptionError);
  });

  test('stands beside what was recorded of istiod, where that is known', () => {
    const phase = (name: string, last: number) => ({
      ...{ name, p50: last, p99: last, last, bytesPerClient: 1024, responses: 1 },
      ...{ cpuSeconds: 2, rssMb: 100, peakMb: 200 },
    });
    const phases = [phase('all configured', 9.2), phase('one weight', 1.06), phase('one endpoint', 0.5)];
    const text = scaleMarkdown({
      ...{ control: 'cmd', machine: 'm', date: 'd' },
      rows: [
        { n: 1000, clients: 1000, phases },
        { n: 3000, clients: 300, phases },
      ],
    });
    assert.ok(text.includes('| 1000 | 1000 | 9.200 | 10.0 × | 1.060 | 10.0 × | 0.500 | 3.0 × | 200 | 3200 |'), text);
    assert.ok(text.includes('| 1000 | 1000 | one weight | 1.060 | 1.060 | 1.060 | 2.00 | 1.0 | 100 | 200 | 10.6 | 17.0 | 571.0 |'), text);
    assert.ok(text.includes('| 3000 | 300 | 9.200 | – | 1.060 | – | 0.500 | – | 200 | – |'), text);
  });
});
