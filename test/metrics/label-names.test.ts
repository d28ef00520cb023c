// Whatever names a configuration gives to labels and metrics of its own, the page stays one that a strict reader takes: one label that came
// twice would cost Prometheus all of the sidecar's metrics.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { createPeerMetadata } from '../../src/proxy/telemetry/peer-metadata.ts';
import { Telemetry } from '../../src/proxy/telemetry/telemetry.ts';
import type { AnyMessage } from '../../src/xds/gen/types.ts';
import { ManualClock } from '../proxy/xds-fixture.ts';
import { unknownFindings } from './promtool.ts';
import { readStrictly } from './strict-text.ts';

const told = (stats: Readonly<Record<string, unknown>>): ReturnType<typeof readStrictly> => {
  const { own } = createPeerMetadata({ id: 'sidecar~10.0.0.1~web-0.shop~shop.svc.cluster.local', metadata: { NAME: 'web-0' } });
  const telemetry = new Telemetry({ own, version: '0.1.0', clock: new ManualClock(), random: () => 0 });
  const typedConfig: AnyMessage = { '@type': 'type.googleapis.com/stats.PluginConfig', ...stats };
  const listener = { kind: 'http', listenerName: 'l', direction: 'OUTBOUND', statPrefix: 'p', accessLog: [], observed: undefined } as const;
  const context = { ...listener, filters: [{ name: 'istio.stats', typedConfig }] };
  telemetry.prepare(context);
  const info = new StreamInfo();
  info.responseCode = 200;
  telemetry.httpDone(info, undefined, undefined, undefined, context);
  const page = telemetry.registry.render();
  const read = readStrictly(page);
  assert.deepEqual(read.problems, []);
  assert.deepEqual(unknownFindings(page) ?? [], []);
  return read;
};

test('labels that a histogram, Prometheus or the standard has already come once', () => {
  const names = ['le', '__name__', 'source.workload', 'reporter', '', '1st', 'a-b', 'a.b', 'über'];
  const dimensions = Object.fromEntries(names.map((name) => [name, `'told as ${name}'`]));
  const { samples } = told({ metrics: [{ dimensions }] });
  const [request] = samples.filter((s) => s.name === 'istio_requests_total');
  const found = Object.fromEntries(Object.entries(request?.labels ?? {}).filter(([, value]) => value.startsWith('told as ')));
  assert.deepEqual(found, {
    ...{ exported_le: 'told as le', exported___name__: 'told as __name__', source_workload: 'told as source.workload' },
    ...{ reporter: 'told as reporter', _: 'told as ', _1st: 'told as 1st', a_b: 'told as a.b', _ber: 'told as über' },
  });
  const buckets = samples.filter((s) => s.name === 'istio_request_duration_milliseconds_bucket').map((s) => s.labels['le']);
  assert.ok(buckets.length > 2 && buckets.at(-1) === '+Inf');
});

test('a metric of one’s own is not told as a standard one, however it is written', () => {
  const { samples } = told({
    definitions: [
      { name: 'requests.total', type: 'COUNTER', value: '1000' },
      { name: 'own-number-total', type: 'COUNTER', value: '7' },
    ],
  });
  assert.deepEqual(
    samples.filter((s) => ['istio_requests_total', 'istio_own_number_total'].includes(s.name)).map((s) => [s.name, s.value]),
    [
      ['istio_requests_total', 1],
      ['istio_own_number_total', 7],
    ],
  );
});
