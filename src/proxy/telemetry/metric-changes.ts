// What the stats filter's configuration changes of the standard metrics: metrics dropped, labels removed, set or added by expressions, and
// metrics of one's own. Compiled once; `evaluate` runs per exchange, only where something is asked for. As Istio's filter: an expression
// that is none takes its standard label away, and one without a value says `unknown`.
import { type CelFacts, type CelPlace, celText } from '../../plan/cel/attributes.ts';
import { compileCelValue } from '../../plan/cel/compile.ts';
import { type CelNode, parseCel } from '../../plan/cel/parse.ts';
import { PlanError } from '../../plan/plan-error.ts';
import type { MetricConfig, PluginConfig } from '../../xds/gen/types.ts';

/** Without `istio_`. */
export const STANDARD_METRICS = [
  'requests_total',
  'request_duration_milliseconds',
  'request_bytes',
  'response_bytes',
  'tcp_sent_bytes_total',
  'tcp_received_bytes_total',
  'tcp_connections_opened_total',
  'tcp_connections_closed_total',
  'request_messages_total',
  'response_messages_total',
] as const;

const SIDE_LABELS = ['workload', 'workload_namespace', 'principal', 'app', 'version', 'cluster', 'canonical_service', 'canonical_revision'];
const STANDARD_LABELS: ReadonlySet<string> = new Set([
  'reporter',
  ...['source', 'destination'].flatMap((side) => SIDE_LABELS.map((label) => `${side}_${label}`)),
  ...['destination_service', 'destination_service_name', 'destination_service_namespace'],
  ...['request_protocol', 'response_code', 'grpc_response_status', 'response_flags', 'connection_security_policy'],
]);

const DEFINITIONS_MAX = 100;
const EXPRESSIONS_MAX = 200;
const LABELS_ADDED_MAX = 50;
/** What a caller may make a label say. */
export const LABEL_LENGTH_MAX = 256;

type Value = (facts: CelFacts) => unknown;

export interface OwnMetric {
  /** Whole, as it is told. */
  readonly name: string;
  /** As it is written. */
  readonly key: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly amount: Value;
}

/** By name of metric without `istio_`. Numbers are places in `texts`. */
export interface MetricChanges {
  readonly texts: readonly Value[];
  readonly dropped: ReadonlySet<string>;
  /** Of standard labels; undefined: removed. */
  readonly changed: ReadonlyMap<string, ReadonlyMap<string, number | undefined>>;
  readonly added: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly own: readonly OwnMetric[];
  /** The same text for metrics of the same changes, '' for those of none: their labels are the same. */
  alike(metric: string): string;
}

/** What the expressions say of one exchange. */
export interface LabelValues {
  readonly texts: readonly string[];
  /** All of them in one text. */
  readonly key: string;
}

const UNKNOWN = 'unknown';

export const evaluate = (changes: MetricChanges, facts: CelFacts): LabelValues => {
  const texts = changes.texts.map((value) => {
    const found = value(facts);
    return found === undefined ? UNKNOWN : bounded(celText(found));
  });
  return { texts, key: texts.join('\n') };
};

/** A whole number that is not negative, else 0, as Istio's filter reads it. */
export const amountOf = ({ amount }: OwnMetric, facts: CelFacts): number => {
  const found = amount(facts);
  const text = found === undefined ? '' : celText(found);
  return /^\d+$/.test(text) ? Number(text) : 0;
};

/** No longer than a label may be; a copy, so that what it was cut from can go. */
export const bounded = (text: string): string =>
  text.length <= LABEL_LENGTH_MAX ? text : Buffer.from(`${text.slice(0, LABEL_LENGTH_MAX - 1)}…`).toString();

/** Undefined where nothing is changed. Throws PlanError for what is not known of the language. */
export const compileChanges = (config: PluginConfig, path: string, place: CelPlace | undefined): MetricChanges | undefined => {
  if (!config.metrics?.length && !config.definitions?.length) return undefined;
  const draft = new Draft(place);
  (config.definitions ?? []).forEach((definition, i) => {
    if ((STANDARD_METRICS as readonly string[]).includes(metricName(definition.name ?? ''))) return;
    const amount = parsed(definition.value ?? '', `${path}.definitions[${i}].value`);
    if (amount !== undefined)
      draft.define(definition.name ?? '', String(definition.type ?? 'COUNTER'), amount, `${path}.definitions[${i}]`);
  });
  for (const [i, metric] of (config.metrics ?? []).entries()) draft.change(metric, `${path}.metrics[${i}]`);
  return draft;
};

class Draft implements MetricChanges {
  readonly texts: Value[] = [];
  readonly dropped = new Set<string>();
  readonly changed = new Map<string, Map<string, number | undefined>>();
  readonly added = new Map<string, Map<string, number>>();
  readonly own: OwnMetric[] = [];
  readonly #places = new Map<string, number>();
  readonly #alike = new Map<string, string>();
  readonly #place: CelPlace | undefined;

  constructor(place: CelPlace | undefined) {
    this.#place = place;
  }

  define(key: string, type: string, amount: CelNode, path: string): void {
    if (this.own.some((metric) => metric.key === key)) return;
    if (this.own.length >= DEFINITIONS_MAX) throw new PlanError(path, `there may be ${DEFINITIONS_MAX} definitions`);
    const kind = type === 'GAUGE' || type === '1' ? 'gauge' : type === 'HISTOGRAM' || type === '2' ? 'histogram' : 'counter';
    this.own.push({ key, name: `istio_${metricName(key)}`, kind, amount: compileCelValue(amount, `${path}.value`, this.#place) });
  }

  change(metric: MetricConfig, path: string): void {
    const { name = '', drop, tags_to_remove: removed = [], dimensions = {} } = metric;
    const standard = name === '' ? STANDARD_METRICS : STANDARD_METRICS.filter((s) => s === name);
    if (drop) {
      if (name !== '') for (const s of standard) this.dropped.add(s);
      return;
    }
    for (const label of removed) if (STANDARD_LABELS.has(label)) for (const s of standard) at(this.changed, s).set(label, undefined);
    const own = this.own.filter(({ key }) => name === '' || key === name).map(({ key }) => key);
    for (const label of Object.keys(dimensions).sort()) {
      const place = this.#number(dimensions[label] ?? '', `${path}.dimensions[${label}]`);
      // By the name that it is told by: a label that came twice would spoil the whole page.
      const told = labelName(label);
      const isStandard = STANDARD_LABELS.has(told);
      if (isStandard) for (const s of standard) at(this.changed, s).set(told, place);
      if (place !== undefined) for (const s of isStandard ? own : [...standard, ...own]) this.#add(s, label, place, path);
    }
  }

  alike(metric: string): string {
    let alike = this.#alike.get(metric);
    if (alike === undefined) {
      const [changed, added] = [this.changed.get(metric), this.added.get(metric)];
      alike = changed === undefined && added === undefined ? '' : JSON.stringify([[...(changed ?? [])], [...(added ?? [])]]);
      this.#alike.set(metric, alike);
    }
    return alike;
  }

  #add(metric: string, label: string, place: number, path: string): void {
    const labels = at(this.added, metric);
    labels.set(labelName(label), place);
    if (labels.size > LABELS_ADDED_MAX) throw new PlanError(path, `a metric may have ${LABELS_ADDED_MAX} labels of one's own`);
  }

  /** Undefined: it is no expression. */
  #number(expression: string, path: string): number | undefined {
    const known = this.#places.get(expression);
    if (known !== undefined) return known;
    const node = parsed(expression, path);
    if (node === undefined) return undefined;
    if (this.texts.length >= EXPRESSIONS_MAX) throw new PlanError(path, `there may be ${EXPRESSIONS_MAX} expressions`);
    this.#places.set(expression, this.texts.length);
    return this.texts.push(compileCelValue(node, path, this.#place)) - 1;
  }
}

const at = <V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> => {
  let found = map.get(key);
  if (found === undefined) {
    found = new Map();
    map.set(key, found);
  }
  return found;
};

const parsed = (expression: string, path: string): CelNode | undefined => {
  try {
    return parseCel(expression, path);
  } catch (problem) {
    if (problem instanceof PlanError) return undefined;
    throw problem;
  }
};

/** As Envoy: what Prometheus takes in no name is `_`. */
const metricName = (name: string): string => name.replace(/[^a-zA-Z0-9_]/g, '_').replace(/^(?=\d|$)/, '_');

/** A histogram's own label and Prometheus' own would be told twice, or make it another metric. */
const labelName = (name: string): string => metricName(name).replace(/^(?=le$|__)/, 'exported_');
