// Judges of tables about Telemetry: who logs, how requests are traced, which metrics are changed.

import { buildSnapshot } from '../../../src/mesh/snapshot.ts';
import { mergeTracing, type TracingChoice } from '../../../src/mesh/telemetry-merge.ts';
import { type NodeTelemetry, nodeTelemetry } from '../../../src/translate/node-telemetry.ts';
import { findProvider } from '../../../src/translate/telemetry-providers.ts';
import { meshConfigOf, resourceOf } from '../../translate/mesh-fixture.ts';
import { differs, labelsOf, leftOut, type Row, row, rows, text, texts, type Verdict } from './case.ts';
import { proxyOf } from './corpus-mesh.ts';

const SIDES = ['outbound', 'inbound', 'outbound', 'gateway'] as const;
const FALLBACK = '/fallback';
/** Providers that log, each to a file of its own name. */
const LOGS = ['envoy', 'envoy-json'];

const PROVIDERS = [
  ...LOGS.map((name) => ({ name, envoyFileAccessLog: { path: name, logFormat: { text: 'x' } } })),
  { name: 'prometheus', prometheus: {} },
  { name: 'stackdriver', stackdriver: {} },
];

const meshOf = (defaultProviders: Row) =>
  meshConfigOf({ accessLogFile: FALLBACK, extensionProviders: PROVIDERS, defaultProviders: { metrics: [], ...defaultProviders } });

const snapshotOf = (r: Row, defaultProviders: Row) => {
  const resources = rows(r['cfgs']).flatMap((c) => resourceOf(c) ?? []);
  return buildSnapshot({ resources, instances: [], meshConfig: meshOf(defaultProviders) }).snapshot;
};

const workloadOf = (r: Row) => ({ namespace: text(row(r['proxy'])['ConfigNamespace']), labels: labelsOf(row(r['proxy'])['Labels']) });

const telemetryOf = (r: Row, defaultProviders: Row): NodeTelemetry => {
  const { namespace, labels } = workloadOf(r);
  const type = r['class'] === 3 ? 'router' : 'sidecar';
  const node = proxyOf({ type, configNamespace: namespace, metadataNamespace: namespace, labels });
  return nodeTelemetry(snapshotOf(r, defaultProviders), { ...node, extensionTypes: new Set(['stats.PluginConfig']) });
};

const sideOf = (r: Row) => SIDES[Number(r['class'])] ?? 'outbound';

const isWaypoint = (r: Row): boolean => row(r['proxy'])['Type'] === 'waypoint';
const NO_WAYPOINTS = leftOut('waypoints belong to ambient, which this mesh has not');

/** Nothing configured is seen by the mesh's own log; nobody logging by its absence or by that log, as in Istio. */
export const accessLogging = (r: Row): Verdict => {
  const defaults = r['defaultProviders'] === null ? {} : { accessLogging: texts(r['defaultProviders']) };
  const paths = telemetryOf(r, defaults)
    .accessLogs(sideOf(r))
    .map((l) => text(row(l.typed_config)['path']));
  if (r['want'] === null) return differs(paths, [FALLBACK]);
  return differs(paths.filter((p) => p !== FALLBACK).sort(), texts(r['want']).sort());
};

const specOf = (choice: TracingChoice) => ({
  provider: choice.provider ?? '',
  disabled: choice.disabled,
  sampling: choice.sampling ?? 0,
  tags: choice.customTags ?? {},
  useRequestId: choice.useRequestId,
  istioTags: choice.istioTags,
  propagates: choice.propagates,
});

const wantedSpec = (input: unknown) => {
  const spec = row(input);
  return {
    provider: text(row(spec['Provider'])['name']),
    disabled: spec['Disabled'] === true,
    sampling: Number(spec['RandomSamplingPercentage'] ?? 0),
    tags: row(spec['CustomTags']),
    useRequestId: spec['UseRequestIDForTraceSampling'] === true,
    istioTags: spec['EnableIstioTags'] === true,
    propagates: spec['DisableContextPropagation'] !== true,
  };
};

export const tracing = (r: Row): Verdict => {
  if (isWaypoint(r)) return NO_WAYPOINTS;
  const { tracing: entries } = snapshotOf(r, {}).telemetry.forWorkload(workloadOf(r));
  const merged = (mode: 'CLIENT' | 'SERVER') =>
    mergeTracing(entries, texts(r['defaultProviders']), mode, (name) => findProvider(meshOf({}), name) !== undefined);
  const [client, server] = [merged('CLIENT'), merged('SERVER')];
  const got = client === undefined || server === undefined ? null : { client: specOf(client), server: specOf(server) };
  const want = r['want'] === null ? null : row(r['want']);
  return differs(got, want === null ? null : { client: wantedSpec(want['ClientSpec']), server: wantedSpec(want['ServerSpec']) });
};

export const telemetryFilters = (r: Row): Verdict => {
  if (isWaypoint(r)) return NO_WAYPOINTS;
  const configs = telemetryOf(r, row(r['defaultProviders'])).stats(sideOf(r));
  return differs(
    Object.fromEntries(configs.map((config) => ['istio.stats', config])),
    Object.fromEntries(Object.entries(row(r['want'])).map(([name, config]) => [name, JSON.parse(text(config))])),
  );
};
