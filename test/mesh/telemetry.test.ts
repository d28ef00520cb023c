// Telemetry: which objects speak for a workload, and how their levels are laid over each other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Resource } from '../../src/api/resource.ts';
import type { TelemetryAccessLogging, TelemetryMetrics, TelemetryTracing } from '../../src/api/specs.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { buildTelemetry } from '../../src/mesh/telemetry.ts';
import { mergeLogging, mergeMetrics, mergeTracing } from '../../src/mesh/telemetry-merge.ts';
import { meshConfigOf, resourcesOf } from '../translate/mesh-fixture.ts';

const policies = (yaml: string): Resource<'Telemetry'>[] => resourcesOf(yaml) as Resource<'Telemetry'>[];
const policy = (name: string, namespace: string, more = '', created = '2026-01-01T00:00:00Z'): string => `
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: {${more}${more === '' ? '' : ', '}tracing: [{providers: [{name: ${name}}]}]}
`;

const names = (yaml: string, namespace: string, labels: Readonly<Record<string, string>> = {}): string =>
  buildTelemetry(policies(yaml), 'istio-system')
    .forWorkload({ namespace, labels })
    .tracing.map((t) => t.providers?.[0]?.name)
    .join(' ');

test('the mesh speaks first, then the namespace, then what selects the workload, oldest first', () => {
  const yaml = [
    policy('young', 'default', 'selector: {matchLabels: {app: a}}', '2026-01-02T00:00:00Z'),
    policy('old', 'default', 'selector: {matchLabels: {app: a}}'),
    policy('other', 'default', 'selector: {matchLabels: {app: b}}'),
    policy('wide', 'default'),
    policy('second', 'default', '', '2026-01-05T00:00:00Z'),
    policy('root', 'istio-system'),
    policy('root-selects', 'istio-system', 'selector: {matchLabels: {app: a}}'),
    policy('elsewhere', 'elsewhere'),
  ].join('');
  assert.equal(names(yaml, 'default', { app: 'a' }), 'root wide old young');
  assert.equal(names(yaml, 'default'), 'root wide');
  assert.equal(names(yaml, 'istio-system', { app: 'a' }), 'root root-selects');
  const { shadowed } = buildTelemetry(policies(yaml), 'istio-system');
  assert.deepEqual(
    shadowed.map((s) => [s.policy.name, s.winner.name]),
    [['second', 'wide']],
  );
});

const log = (more: Partial<TelemetryAccessLogging>): TelemetryAccessLogging => more;
const to = (...list: readonly string[]) => list.map((name) => ({ name }));
const logging = (
  levels: readonly (readonly TelemetryAccessLogging[])[],
  defaults: readonly string[] = [],
  mode: 'CLIENT' | 'SERVER' = 'CLIENT',
) => mergeLogging(levels, defaults, mode)?.map((c) => `${c.provider}${c.disabled ? '-' : ''}${c.filter === '' ? '' : `(${c.filter})`}`);

test('logging: a level that names providers takes the place of those above, one that names none inherits', () => {
  assert.equal(logging([]), undefined);
  assert.deepEqual(logging([], ['b', 'a']), ['a', 'b']);
  assert.deepEqual(logging([[log({ providers: to('a') })], [log({ providers: to('b') })]]), ['b']);
  assert.deepEqual(logging([[log({ providers: to('a') })], [log({})]]), ['a']);
  assert.deepEqual(logging([[log({ providers: to('a') })], [log({ disabled: true })]]), ['a-']);
  assert.deepEqual(logging([[log({ disabled: true })]], ['a']), ['a-']);
  assert.deepEqual(logging([[log({ providers: to('a', 'b') }), log({ providers: to('b'), disabled: true })]]), ['a', 'b-']);
  assert.deepEqual(logging([[log({ disabled: true })], [log({ providers: to('a') })]], ['a']), ['a']);
});

test('logging: clients and servers are told apart, filters go with their provider', () => {
  const level = [
    log({ match: { mode: 'SERVER' }, providers: to('s') }),
    log({ match: { mode: 'CLIENT' }, providers: to('c'), filter: { expression: 'true' } }),
    log({ match: { mode: 'CLIENT_AND_SERVER' }, providers: to('both') }),
  ];
  assert.deepEqual(logging([level], [], 'CLIENT'), ['both', 'c(true)']);
  assert.deepEqual(logging([level], [], 'SERVER'), ['both', 's']);
});

const trace = (entries: readonly TelemetryTracing[], defaults: readonly string[] = [], mode: 'CLIENT' | 'SERVER' = 'CLIENT') =>
  mergeTracing(entries, defaults, mode, (name) => name !== 'absent');

test('tracing: later entries override field by field', () => {
  assert.equal(trace([]), undefined);
  const merged = trace([
    { providers: to('z'), randomSamplingPercentage: 50, customTags: { a: { literal: { value: '1' } } } },
    { randomSamplingPercentage: 0, enableIstioTags: false, disableContextPropagation: true },
  ]);
  assert.deepEqual(merged, {
    provider: 'z',
    disabled: false,
    sampling: 0,
    customTags: { a: { literal: { value: '1' } } },
    useRequestId: true,
    istioTags: false,
    propagates: false,
  });
  assert.equal(trace([{ providers: to('z') }, { match: { mode: 'SERVER' }, disableSpanReporting: true }])?.disabled, false);
  assert.equal(trace([{ providers: to('z') }, { match: { mode: 'SERVER' }, disableSpanReporting: true }], [], 'SERVER')?.disabled, true);
});

test('tracing: without a provider that the mesh has nothing is traced', () => {
  assert.equal(trace([{ providers: to('absent') }], ['z'])?.disabled, true);
  assert.equal(trace([{ randomSamplingPercentage: 9 }])?.disabled, true);
  assert.equal(trace([], ['z'])?.provider, 'z');
  assert.equal(trace([], ['z'])?.disabled, false);
});

const metrics = (entries: readonly TelemetryMetrics[], defaults: readonly string[] = [], mode: 'CLIENT' | 'SERVER' = 'CLIENT') =>
  mergeMetrics(entries, defaults, mode).map((c) => ({
    provider: c.provider,
    ...(c.disabled ? { disabled: true } : {}),
    ...(c.interval === undefined ? {} : { interval: c.interval }),
    overrides: c.overrides.map((o) =>
      `${o.metric}${o.disabled ? '-' : ''} ${[...o.tags].map(([k, v]) => `${k}=${v ?? ''}`).join(',')}`.trim(),
    ),
  }));

test('metrics: overrides of all levels add up for the providers that are left', () => {
  assert.deepEqual(metrics([], ['p']), [{ provider: 'p', overrides: [] }]);
  const entries: readonly TelemetryMetrics[] = [
    {
      providers: to('p'),
      reportingInterval: '15s',
      overrides: [{ match: { metric: 'REQUEST_COUNT' }, disabled: true, tagOverrides: { b: { value: 'x' }, a: { operation: 'REMOVE' } } }],
    },
    {
      reportingInterval: '5s',
      overrides: [
        { match: { metric: 'REQUEST_COUNT' }, tagOverrides: { b: { operation: 'UPSERT', value: 'y' } } },
        { match: { customMetric: 'mine' }, disabled: true },
      ],
    },
  ];
  assert.deepEqual(metrics(entries), [{ provider: 'p', interval: '5s', overrides: ['REQUEST_COUNT- a=,b=y', 'mine-'] }]);
  assert.deepEqual(metrics([...entries, { providers: to('q') }]), [{ provider: 'q', overrides: [] }]);
});

test('metrics: to disable all takes the filter away until somebody says more', () => {
  const off: TelemetryMetrics = { providers: to('p'), overrides: [{ disabled: true }] };
  assert.deepEqual(metrics([off]), [{ provider: 'p', disabled: true, overrides: [] }]);
  assert.deepEqual(metrics([off, { overrides: [] }]), [{ provider: 'p', disabled: true, overrides: [] }]);
  assert.deepEqual(metrics([off, { overrides: [{ match: { metric: 'TCP_SENT_BYTES' } }] }]), [
    { provider: 'p', overrides: ['TCP_SENT_BYTES'] },
  ]);
  const clients: TelemetryMetrics = { providers: to('p'), overrides: [{ match: { mode: 'CLIENT' }, disabled: true }] };
  assert.deepEqual(metrics([clients], [], 'SERVER'), [{ provider: 'p', overrides: [] }]);
  assert.equal(metrics([{ providers: to('p'), overrides: [{ tagOverrides: { a: { value: '1' } } }] }])[0]?.overrides.length, 10);
});

test('providers that cannot take what is sent to them are told with their place', () => {
  const yaml = `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: default}
spec:
  accessLogging: [{providers: [{name: nobody}, {name: prometheus}, {name: envoy}]}]
  tracing: [{providers: [{name: Zipkin}]}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: u, namespace: default}
spec: {}
`;
  const extensionProviders = [
    { name: 'prometheus', prometheus: {} },
    { name: 'envoy', envoyFileAccessLog: {} },
    { name: 'zipkin', zipkin: { service: 'zipkin.tracing.svc.cluster.local', port: 9411 } },
  ];
  const { problems } = buildSnapshot({ resources: resourcesOf(yaml), instances: [], meshConfig: meshConfigOf({ extensionProviders }) });
  assert.deepEqual(problems.map((p) => `${p.code} ${p.path}`).sort(), [
    'PROVIDER_UNFIT spec.accessLogging[0].providers[1].name',
    'PROVIDER_UNKNOWN spec.accessLogging[0].providers[0].name',
    'PROVIDER_UNREACHABLE spec.tracing[0].providers[0].name',
    'TELEMETRY_SHADOWED spec',
  ]);
});
