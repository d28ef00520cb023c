// The levels of a workload's Telemetry laid over each other: who logs what, which metrics are changed, how requests are traced.

import type { TelemetryMetrics, TelemetryTracing } from '../api/specs.ts';
import { compareText } from './order.ts';
import type { WorkloadTelemetry } from './telemetry.ts';

/** A gateway is a client of what lies behind it. */
export type TelemetryMode = 'CLIENT' | 'SERVER';

const fits = (wanted: string | undefined, mode: TelemetryMode): boolean =>
  wanted === undefined || wanted === 'CLIENT_AND_SERVER' || wanted === mode;

const namesOf = (providers: readonly { readonly name: string }[] | undefined): readonly string[] => (providers ?? []).map((p) => p.name);

export interface LogChoice {
  readonly provider: string;
  readonly disabled: boolean;
  /** CEL; empty when everything is logged. */
  readonly filter: string;
}

/** By name of provider. Undefined: nothing is said, so the mesh's log file counts. */
export const mergeLogging = (
  levels: WorkloadTelemetry['logging'],
  defaults: readonly string[],
  mode: TelemetryMode,
): readonly LogChoice[] | undefined => {
  if (levels.length === 0)
    return defaults.length === 0 ? undefined : sortChoices(defaults.map((provider) => ({ provider, disabled: false, filter: '' })));
  const filters = new Map<string, string>();
  let scope = defaults;
  for (const level of levels) {
    const names: string[] = [];
    for (const entry of level) {
      if (!fits(entry.match?.mode, mode)) continue;
      for (const name of namesOf(entry.providers)) {
        names.push(name);
        filters.set(name, entry.filter?.expression ?? '');
      }
    }
    if (names.length > 0) scope = names;
  }
  const chosen = new Map<string, LogChoice>();
  let inherited = defaults;
  for (const entry of levels.flat()) {
    const own = namesOf(entry.providers);
    inherited = own.length > 0 ? own : inherited;
    if (!fits(entry.match?.mode, mode)) continue;
    for (const provider of inherited) {
      if (!scope.includes(provider)) continue;
      const disabled = entry.disabled === true;
      chosen.set(provider, { provider, disabled, filter: disabled ? '' : (filters.get(provider) ?? '') });
    }
  }
  return sortChoices([...chosen.values()]);
};

const sortChoices = (choices: readonly LogChoice[]): readonly LogChoice[] =>
  [...choices].sort((a, b) => compareText(a.provider, b.provider));

export interface TracingChoice {
  /** Undefined: nobody takes the spans. */
  readonly provider: string | undefined;
  readonly disabled: boolean;
  readonly sampling: number | undefined;
  readonly customTags: TelemetryTracing['customTags'];
  readonly useRequestId: boolean;
  readonly istioTags: boolean;
  readonly propagates: boolean;
}

const UNTRACED: TracingChoice = {
  provider: undefined,
  disabled: false,
  sampling: undefined,
  customTags: undefined,
  useRequestId: true,
  istioTags: true,
  propagates: true,
};

/** Undefined: nothing is said, so the mesh's settings count. `known` finds a provider by the name that somebody wrote. */
export const mergeTracing = (
  entries: readonly TelemetryTracing[],
  defaults: readonly string[],
  mode: TelemetryMode,
  known: (provider: string) => boolean,
): TracingChoice | undefined => {
  if (entries.length === 0 && defaults.length === 0) return undefined;
  const find = (name: string | undefined): string | undefined => (name !== undefined && known(name) ? name : undefined);
  let out: TracingChoice = { ...UNTRACED, provider: find(defaults[0]) };
  for (const entry of entries) {
    if (!fits(entry.match?.mode, mode)) continue;
    const [first] = namesOf(entry.providers);
    out = {
      provider: first === undefined ? out.provider : find(first),
      disabled: entry.disableSpanReporting ?? out.disabled,
      sampling: entry.randomSamplingPercentage ?? out.sampling,
      customTags: entry.customTags ?? out.customTags,
      useRequestId: entry.useRequestIdForTraceSampling ?? out.useRequestId,
      istioTags: entry.enableIstioTags ?? out.istioTags,
      propagates: entry.disableContextPropagation === undefined ? out.propagates : !entry.disableContextPropagation,
    };
  }
  return out.provider === undefined ? { ...out, disabled: true } : out;
};

export interface MetricOverride {
  /** A name of the Telemetry API (REQUEST_COUNT), or the metric's own. */
  readonly metric: string;
  readonly disabled: boolean;
  /** Label to expression; undefined removes the label. */
  readonly tags: ReadonlyMap<string, string | undefined>;
}

export interface MetricChoice {
  readonly provider: string;
  /** Not a single metric. */
  readonly disabled: boolean;
  readonly interval: string | undefined;
  /** By name of metric. */
  readonly overrides: readonly MetricOverride[];
}

const ALL_METRICS = [
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
  'REQUEST_COUNT',
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_OPENED_CONNECTIONS',
  'TCP_RECEIVED_BYTES',
  'TCP_SENT_BYTES',
] as const;

type Override = NonNullable<TelemetryMetrics['overrides']>[number];

const meansAll = ({ match }: Override): boolean =>
  match?.customMetric === undefined && (match?.metric === undefined || match.metric === 'ALL_METRICS');

const metricsOf = (o: Override): readonly string[] =>
  meansAll(o) ? ALL_METRICS : [o.match?.customMetric ?? o.match?.metric ?? 'ALL_METRICS'];

/** By name of provider. */
export const mergeMetrics = (
  entries: readonly TelemetryMetrics[],
  defaults: readonly string[],
  mode: TelemetryMode,
): readonly MetricChoice[] => {
  const scope = entries.reduce((names, e) => (namesOf(e.providers).length > 0 ? namesOf(e.providers) : names), defaults);
  const drafts = new Map<string, Draft>();
  if (entries.length === 0) for (const name of defaults) drafts.set(name, newDraft());
  let inherited = defaults;
  for (const entry of entries) {
    const own = namesOf(entry.providers);
    inherited = own.length > 0 ? own : inherited;
    for (const provider of inherited) {
      if (!scope.includes(provider)) continue;
      const draft = drafts.get(provider) ?? newDraft();
      drafts.set(provider, draft);
      draft.interval = entry.reportingInterval ?? draft.interval;
      for (const o of entry.overrides ?? []) if (fits(o.match?.mode, mode)) override(draft, o);
    }
  }
  return [...drafts]
    .map(([provider, d]) => ({
      provider,
      disabled: d.disabled,
      interval: d.interval,
      overrides: d.disabled ? [] : [...d.metrics.values()].sort((a, b) => compareText(a.metric, b.metric)),
    }))
    .sort((a, b) => compareText(a.provider, b.provider));
};

interface Draft {
  disabled: boolean;
  interval: string | undefined;
  readonly metrics: Map<string, MetricOverride>;
}

const newDraft = (): Draft => ({ disabled: false, interval: undefined, metrics: new Map() });

const override = (draft: Draft, o: Override): void => {
  if (meansAll(o) && o.disabled === true) {
    draft.disabled = true;
    return;
  }
  // Whoever says something about a metric wants metrics again.
  draft.disabled = false;
  for (const metric of metricsOf(o)) {
    const before = draft.metrics.get(metric);
    const tags = new Map(before?.tags);
    for (const [label, tag] of Object.entries(o.tagOverrides ?? {}))
      tags.set(label, tag.operation === 'REMOVE' ? undefined : (tag.value ?? ''));
    draft.metrics.set(metric, {
      metric,
      disabled: o.disabled ?? before?.disabled ?? false,
      tags: new Map([...tags].sort(([a], [b]) => compareText(a, b))),
    });
  }
};
