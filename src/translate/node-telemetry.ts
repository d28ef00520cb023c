// What a node logs, counts and traces: its Telemetry, else the mesh's settings. What the node does not understand is left out and told.

import type { MeshConfig, MeshProxyConfig } from '../api/mesh-config/mesh-config.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { WorkloadTelemetry } from '../mesh/telemetry.ts';
import { mergeLogging, mergeMetrics, mergeTracing, type TelemetryMode } from '../mesh/telemetry-merge.ts';
import { SENDS_SUMMARIES } from '../xds/client-features.ts';
import type { AccessLog, Cluster, HttpConnectionManager_Tracing, PluginConfig } from '../xds/gen/types.ts';
import { CEL_FILTER, celFilter, filtered, type Logged, meshLog, providerLog, serviceLog, summariesLog, UNTAKEN } from './access-log.ts';
import { announcesStats, countsMetrics, type Side } from './istio-filters.ts';
import { statsConfig } from './metrics.ts';
import type { Note } from './note.ts';
import { mayUnderstand, type ProxyNode } from './proxy-node.ts';
import { proxySetting } from './proxy-settings.ts';
import { controlPlaneCluster, findProvider, isControlPlane } from './telemetry-providers.ts';
import { legacyTracing, reportingTo, tracingOf } from './tracing.ts';

export interface NodeTelemetry {
  /** Of exchanges. */
  accessLogs(side: Side): readonly AccessLog[];
  /** Of connections. */
  tcpLogs(side: Side): readonly AccessLog[];
  /** Of connections that no filter chain took. */
  listenerLogs(side: Side): readonly AccessLog[];
  /** Undefined: not traced. */
  tracing(side: Side): HttpConnectionManager_Tracing | undefined;
  /** To what spans are reported to and is no service of the mesh. */
  collectors(): readonly Cluster[];
  /** Does the request id tell whether a request is traced? */
  tracesByRequestId(side: Side): boolean;
  /** One a provider. */
  stats(side: Side): readonly PluginConfig[];
  /** What is left out. */
  notes(): readonly Note[];
}

type Section = 'accessLogging' | 'metrics' | 'tracing';

interface Base {
  readonly snapshot: Snapshot;
  readonly mesh: MeshConfig;
  readonly node: ProxyNode;
  readonly telemetry: WorkloadTelemetry;
  readonly untold: (section: Section, what: string) => void;
}

/** A gateway is a client of what lies behind it. */
const modeOf = (side: Side): TelemetryMode => (side === 'inbound' ? 'SERVER' : 'CLIENT');

/** Nothing is made before it is asked for, so that who asks for little depends on little of the node. */
export const nodeTelemetry = (snapshot: Snapshot, node: ProxyNode): NodeTelemetry => {
  const telemetry = memo((_: 'all') => snapshot.telemetry.forWorkload(node));
  const notes = new Map<string, Note>();
  const base: Base = {
    snapshot,
    mesh: snapshot.meshConfig,
    node,
    get telemetry() {
      return telemetry('all');
    },
    untold: (section, what) => {
      const note = noteOf(telemetry('all'), section, what);
      if (note !== undefined) notes.set(`${section} ${what}`, note);
    },
  };
  const logsBy = memo<Logged, (side: Side) => readonly Log[]>((logged) => memo<Side, readonly Log[]>((side) => logsOf(base, side, logged)));
  const logs = (side: Side, logged: Logged): readonly Log[] => logsBy(logged)(side);
  const tracing = memo<Side, Tracing>((side) => tracingFor(base, side));
  const stats = memo<Side, readonly PluginConfig[]>((side) => statsFor(base, side));
  const told = (logged: 'http' | 'tcp'): readonly AccessLog[] => (node.metadata[SENDS_SUMMARIES] === 'true' ? [summariesLog(logged)] : []);
  const sides = (): readonly Side[] => (node.kind === 'router' ? ['gateway'] : ['outbound', 'inbound']);
  const unlogged = snapshot.meshConfig.disableEnvoyListenerLog === true;
  return {
    accessLogs: memo<Side, readonly AccessLog[]>((side) => [...logs(side, 'http').map((l) => filtered(l.log, l.filters)), ...told('http')]),
    tcpLogs: memo<Side, readonly AccessLog[]>((side) => [...logs(side, 'tcp').map((l) => filtered(l.log, l.filters)), ...told('tcp')]),
    listenerLogs: memo<Side, readonly AccessLog[]>((side) =>
      unlogged ? [] : logs(side, 'listener').map((l) => filtered(l.log, [UNTAKEN, ...l.filters])),
    ),
    tracing: (side) => tracing(side).tracing,
    collectors: () => (sides().some((side) => tracing(side).toControlPlane === true) ? [controlPlaneCluster(node)] : []),
    tracesByRequestId: (side) => tracing(side).byRequestId,
    stats,
    notes: () => {
      for (const side of sides()) {
        logs(side, 'http');
        tracing(side);
        stats(side);
      }
      return [...notes.values()];
    },
  };
};

const memo = <K, V>(make: (key: K) => V): ((key: K) => V) => {
  const made = new Map<K, V>();
  return (key) => {
    const known = made.get(key);
    if (known !== undefined) return known;
    const value = make(key);
    made.set(key, value);
    return value;
  };
};

interface Tracing {
  readonly tracing: HttpConnectionManager_Tracing | undefined;
  readonly byRequestId: boolean;
  readonly toControlPlane?: boolean;
}

interface Log {
  readonly log: AccessLog;
  readonly filters: readonly ReturnType<typeof celFilter>[];
}

/** Where Telemetry names no provider that takes logs, the mesh's file counts, as in Istio. */
const logsOf = (b: Base, side: Side, logged: Logged): readonly Log[] => {
  const choices = mergeLogging(b.telemetry.logging, b.mesh.defaultProviders.accessLogging ?? [], modeOf(side)) ?? [];
  const found = choices.flatMap((choice) => {
    const provider = findProvider(b.mesh, choice.provider);
    const log = provider === undefined ? undefined : providerLog(b.snapshot, provider);
    return log === undefined ? [] : [{ choice, log }];
  });
  if (found.length === 0) return meshLogs(b, logged).map((log) => ({ log, filters: [] }));
  return found.flatMap(({ choice, log }) => {
    if (choice.disabled) return [];
    const type = typeIn(log.typed_config);
    if (!mayUnderstand(b.node, type)) {
      b.untold('accessLogging', `writes no log to provider ${choice.provider}: it does not know ${type}`);
      return [];
    }
    if (choice.filter === '') return [{ log, filters: [] }];
    if (mayUnderstand(b.node, CEL_FILTER)) return [{ log, filters: [celFilter(choice.filter)] }];
    b.untold('accessLogging', `logs everything to provider ${choice.provider}: it does not know expressions such as ${choice.filter}`);
    return [{ log, filters: [] }];
  });
};

/** A proxy whose bootstrap has no log service would refuse what names one. */
const meshLogs = (b: Base, logged: Logged): readonly AccessLog[] => {
  const file = b.mesh.accessLogFile === '' ? [] : [meshLog(b.mesh, b.mesh.accessLogFile)];
  if (b.mesh.enableEnvoyAccessLogService !== true) return file;
  const address = proxySetting(b.mesh, b.node, 'envoyAccessLogService')?.address ?? '';
  const log = serviceLog(logged);
  return address !== '' && mayUnderstand(b.node, typeIn(log.typed_config)) ? [...file, log] : file;
};

const typeIn = (any: AccessLog['typed_config']): string => {
  const url = any !== undefined && '@type' in any ? any['@type'] : '';
  return url.slice(url.lastIndexOf('/') + 1);
};

const proxyTracing = ({ mesh, node }: Base): MeshProxyConfig['tracing'] => proxySetting(mesh, node, 'tracing');

const tracingFor = (b: Base, side: Side): Tracing => {
  const proxy = proxyTracing(b);
  const known = (name: string): boolean => findProvider(b.mesh, name) !== undefined;
  const choice = mergeTracing(b.telemetry.tracing, b.mesh.defaultProviders.tracing ?? [], modeOf(side), known);
  if (choice === undefined) return { tracing: b.mesh.enableTracing ? legacyTracing(b.node, proxy) : undefined, byRequestId: true };
  const untraced = { tracing: undefined, byRequestId: true };
  const provider = choice.provider === undefined ? undefined : findProvider(b.mesh, choice.provider);
  if (choice.disabled || provider === undefined) return untraced;
  const reporting = reportingTo(b.snapshot, b.node, provider);
  const toControlPlane = isControlPlane(provider);
  if (reporting === undefined) {
    if (toControlPlane)
      b.untold('tracing', `reports no spans to provider ${choice.provider}: nothing beside it hands them on to the control plane`);
    return untraced;
  }
  const type = typeIn(reporting.config);
  if (!mayUnderstand(b.node, type)) {
    b.untold('tracing', `reports no spans to provider ${choice.provider}: it does not know ${type}`);
    return { tracing: tracingOf(b.node, proxy, choice, undefined), byRequestId: choice.useRequestId };
  }
  for (const unknown of reporting.without)
    b.untold(
      'tracing',
      `reports spans to provider ${choice.provider} without ${unknown}, which it does not know: sampling is as Telemetry says`,
    );
  return { tracing: tracingOf(b.node, proxy, choice, reporting), byRequestId: choice.useRequestId, toControlPlane };
};

/** Nothing said at all means Prometheus where there is something to count with; an empty list switches metrics off. */
const defaultMetrics = ({ mesh, node }: Base): readonly string[] =>
  mesh.defaultProviders.metrics ?? (announcesStats(node) ? ['prometheus'] : []);

/** The mesh has one of that name without being told. */
const isPrometheus = (mesh: MeshConfig, name: string): boolean => {
  const provider = findProvider(mesh, name);
  return provider === undefined ? name === 'prometheus' : provider.prometheus !== undefined;
};

const statsFor = (b: Base, side: Side): readonly PluginConfig[] => {
  if (!countsMetrics(b.node)) {
    if (b.telemetry.metrics.length > 0) b.untold('metrics', 'counts nothing of the mesh: it does not know stats.PluginConfig');
    return [];
  }
  return mergeMetrics(b.telemetry.metrics, defaultMetrics(b), modeOf(side))
    .filter((choice) => !choice.disabled && isPrometheus(b.mesh, choice.provider))
    .map((choice) => statsConfig(side, choice));
};

/** Noted at the object that said it last; what the mesh's settings ask of all is not noted. */
const noteOf = (telemetry: WorkloadTelemetry, section: Section, what: string): Note | undefined => {
  const resource = telemetry.policies.findLast((p) => (p.spec[section] ?? []).length > 0);
  return resource === undefined ? undefined : { code: 'TELEMETRY_NOT_UNDERSTOOD', resource, path: `spec.${section}`, what };
};
