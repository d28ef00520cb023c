// What a metrics service is told of all that the process counts, message by message: counters and gauges that were ever used, histograms of
// what came since the time before. Names and tags are Envoy's; the mesh's metrics have labels of their own. One family a metric, as Envoy
// sends them. A sink has one, which remembers what it told last; nothing is forgotten between two messages but what was dropped itself.

import { Histogram, type MetricRegistry } from '../../base/metrics.ts';
import { Writer } from '../../xds/wire-format.ts';
import { taggedName } from '../admin/prometheus-names.ts';
import { cumulative } from '../admin/prometheus-text.ts';
import { type HistogramParts, HistogramStat, type StatsStore } from '../stats-store.ts';
import { encodeLabels, type LabelPairs, writeFamily, writeHistogram, writeSummary, writeValue } from './metrics-message.ts';
import type { BucketsOf } from './stats-config.ts';
import type { MetricsSinkPlan } from './stats-sinks.ts';

export interface MetricsSource {
  readonly stats: StatsStore;
  readonly metrics: MetricRegistry;
}

/** A larger one is cut in two: receivers commonly take 4 MB. */
const MESSAGE_BYTES = 1024 * 1024;

/** Of Envoy's histograms. */
const QUANTILES: readonly number[] = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];

interface Name {
  readonly name: string;
  readonly labels: Uint8Array;
}

interface Told {
  readonly counts: Float64Array;
  readonly sum: number;
}

type SinkForm = Pick<MetricsSinkPlan, 'deltas' | 'tags' | 'summaries' | 'histograms'>;

export class MetricsSnapshot {
  readonly #form: SinkForm;
  readonly #buckets: BucketsOf;
  #names = new Map<string, Name>();
  #counters = new Map<string, number>();
  #gauges = new Set<string>();
  #histograms = new Map<string, HistogramParts>();
  #told = new Map<string, Told>();

  constructor(form: SinkForm, buckets: BucketsOf) {
    this.#form = form;
    this.#buckets = buckets;
  }

  /** Field 2 of StreamMetricsMessage again and again, in pieces that are messages. */
  messages({ stats, metrics }: MetricsSource, nowMs: number): Uint8Array[] {
    const done: Uint8Array[] = [];
    let w = new Writer();
    let bytes = 0;
    const family = (write: (w: Writer) => void): void => {
      const one = new Writer();
      write(one);
      const written = one.finish();
      if (bytes > 0 && bytes + written.length > MESSAGE_BYTES) {
        done.push(w.finish());
        w = new Writer();
        bytes = 0;
      }
      w.raw(written);
      bytes += written.length;
    };
    this.#stats(stats, nowMs, family);
    this.#distributions(stats, nowMs, family);
    this.#mesh(metrics, nowMs, family);
    if (bytes > 0) done.push(w.finish());
    return done;
  }

  #stats(stats: StatsStore, nowMs: number, family: (write: (w: Writer) => void) => void): void {
    const [counters, gauges, names] = [new Map<string, number>(), new Set<string>(), new Map<string, Name>()];
    for (const { name: stat, kind, value } of stats.all()) {
      if (kind === 'gauge' ? value === 0 && !this.#gauges.has(stat) : value === 0 && !this.#counters.has(stat)) continue;
      const { name, labels } = this.#name(stat);
      names.set(stat, { name, labels });
      let told = value;
      if (kind === 'gauge') gauges.add(stat);
      else {
        // Counters may be set back by hand.
        const before = this.#counters.get(stat) ?? 0;
        counters.set(stat, value);
        if (this.#form.deltas) told = value >= before ? value - before : value;
      }
      family((w) => writeFamily(w, name, kind, () => writeValue(w, kind, labels, told, nowMs)));
    }
    this.#counters = counters;
    this.#gauges = gauges;
    this.#names = names;
  }

  #distributions(stats: StatsStore, nowMs: number, family: (write: (w: Writer) => void) => void): void {
    const kept = new Map<string, HistogramParts>();
    for (const histogram of stats.histograms()) {
      if (histogram.count === 0) continue;
      const before = this.#histograms.get(histogram.name);
      const parts = copyOf(histogram.parts);
      kept.set(histogram.name, parts);
      const since = new HistogramStat(histogram.name);
      since.add(before === undefined || before.count > parts.count ? parts : difference(parts, before));
      const { name, labels } = this.#name(histogram.name);
      if (this.#form.summaries) {
        const values = since.quantiles(QUANTILES) ?? QUANTILES.map(() => Number.NaN);
        family((w) =>
          writeFamily(w, name, 'summary', () =>
            writeSummary(
              w,
              labels,
              since.count,
              since.sum,
              QUANTILES.map((q, i) => [q, values[i] ?? Number.NaN]),
              nowMs,
            ),
          ),
        );
      }
      if (!this.#form.histograms) continue;
      const all = cumulative(since, this.#buckets(histogram.name));
      const counts = all.map(([, count], i) => count - (all[i - 1]?.[1] ?? 0));
      const bounds = all.map(([bound]) => bound);
      family((w) =>
        writeFamily(w, name, 'histogram', () => writeHistogram(w, labels, since.sum, bounds, counts, false, { nowMs, count: since.count })),
      );
    }
    this.#histograms = kept;
  }

  /** The mesh's own, which have bounds and no quantiles. */
  #mesh(metrics: MetricRegistry, nowMs: number, family: (write: (w: Writer) => void) => void): void {
    const kept = new Map<string, Told>();
    for (const { name, kind, bounds, entries } of familiesOf(metrics))
      for (const [text, series] of entries) {
        const key = `${name}{${text}}`;
        const isHistogram = series instanceof Histogram;
        const counts = isHistogram ? Float64Array.from(series.counts) : Float64Array.of(series.value);
        const sum = isHistogram ? series.sum : 0;
        kept.set(key, { counts, sum });
        const before = this.#told.get(key);
        const labels = encodeLabels(labelsOf(text));
        if (isHistogram) {
          const since = counts.map((n, i) => Math.max(0, n - (before?.counts[i] ?? 0)));
          const sumSince = Math.max(0, sum - (before?.sum ?? 0));
          const count = since.reduce((a, b) => a + b, 0);
          // Its last bucket has no bound, which Envoy tells nothing of but the count.
          family((w) =>
            writeFamily(w, name, 'histogram', () =>
              writeHistogram(w, labels, sumSince, bounds, since.subarray(0, bounds.length), false, { nowMs, count }),
            ),
          );
        } else {
          const told =
            kind === 'counter' && this.#form.deltas ? Math.max(0, (counts[0] ?? 0) - (before?.counts[0] ?? 0)) : (counts[0] ?? 0);
          const type = kind === 'counter' ? 'counter' : 'gauge';
          family((w) => writeFamily(w, name, type, () => writeValue(w, type, labels, told, nowMs)));
        }
      }
    this.#told = kept;
  }

  #name(stat: string): Name {
    const known = this.#names.get(stat);
    if (known !== undefined) return known;
    if (!this.#form.tags) return { name: stat, labels: NO_LABELS };
    const { name, tags } = taggedName(stat);
    return { name, labels: encodeLabels(tags.map(([label, value]) => [label.replace(/^envoy_/, 'envoy.'), value])) };
  }
}

const NO_LABELS = new Uint8Array(0);

const familiesOf = function* (metrics: MetricRegistry) {
  for (const family of metrics.families()) yield { name: family.name, kind: family.kind, bounds: family.bounds, entries: family.entries() };
};

/** Of the text that a series is found by: `a="1",b="x"`. */
const labelsOf = (text: string): LabelPairs =>
  [...text.matchAll(/([^=,]+)="((?:[^"\\]|\\.)*)"/g)].map(([, name = '', value = '']) => [name, value.replace(/\\(.)/g, unescaped)]);

const unescaped = (_: string, c: string): string => (c === 'n' ? '\n' : c);

const copyOf = ({ count, sum, belowOne, decades }: HistogramParts): HistogramParts => ({
  count,
  sum,
  belowOne,
  decades: decades.map((d) => d && Uint32Array.from(d)),
});

const difference = (now: HistogramParts, before: HistogramParts): HistogramParts => ({
  count: now.count - before.count,
  sum: now.sum - before.sum,
  belowOne: now.belowOne - before.belowOne,
  decades: now.decades.map((d, i) => d?.map((n, j) => n - (before.decades[i]?.[j] ?? 0))),
});
