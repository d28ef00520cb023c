// Everything that the process counts in Prometheus' text format, made in pieces: a page of many series takes no turn of the event loop for
// long, and is never in memory whole. The samples of one name stand together, each name once.
import { familyHead, type MetricKind, type MetricRegistry } from '../../base/metrics.ts';
import type { HistogramStat, StatsStore } from '../stats-store.ts';
import { DEFAULT_BUCKETS } from '../telemetry/stats-config.ts';
import type { AnswerReader } from './admin-context.ts';
import { prometheusName } from './prometheus-names.ts';

export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export interface Counted {
  readonly stats: StatsStore;
  readonly metrics: MetricRegistry;
}

export interface Wanted {
  readonly usedOnly: boolean;
  readonly name: (name: string) => boolean;
}

/** Stats looked at before a piece is given, though nothing is to be told of them. */
const LOOKED_AT = 500;
/** Of one turn. */
const TURN_MS = 2;
/** Before the next look at a reader that has not taken what was sent. */
const FULL_MS = 20;

/** Pieces that may be empty; each is the work of a moment. */
export function* prometheusPieces({ stats, metrics }: Counted, wanted: Wanted): Generator<string> {
  yield* metrics.pieces(wanted.name);
  yield* envoyPieces(stats, wanted);
}

export const prometheusText = (counted: Counted, wanted: Wanted): string => {
  let out = '';
  for (const piece of prometheusPieces(counted, wanted)) out += piece;
  return out;
};

/** Gives the pieces to a reader, as fast as it takes them, a little in each turn. Answers how to stop. */
export const sendPieces = (pieces: Iterator<string>, reader: AnswerReader, nowMs: () => number): (() => void) => {
  let stopped = false;
  let unsent = '';
  const turn = (): void => {
    if (stopped) return;
    const until = nowMs() + TURN_MS;
    do {
      const next = unsent === '' ? pieces.next() : { done: false, value: unsent };
      if (next.done === true) {
        reader.end();
        return;
      }
      unsent = '';
      if (next.value !== '' && !reader.send(next.value)) {
        unsent = next.value;
        setTimeout(turn, FULL_MS);
        return;
      }
    } while (!stopped && nowMs() < until);
    setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    stopped = true;
  };
};

interface EnvoyFamily {
  readonly kind: MetricKind;
  readonly samples: { readonly labels: string; readonly value: number | HistogramStat }[];
}

/** Sorted by name, as Envoy does. */
function* envoyPieces(stats: StatsStore, { usedOnly, name: wanted }: Wanted): Generator<string> {
  const families = new Map<string, EnvoyFamily>();
  const add = (dotted: string, kind: MetricKind, value: number | HistogramStat): void => {
    const { name, labels } = prometheusName(dotted);
    const family = families.get(name);
    if (family === undefined) families.set(name, { kind, samples: [{ labels, value }] });
    else if (family.kind === kind) family.samples.push({ labels, value });
  };
  let looked = 0;
  for (const { name, kind, value } of stats.all()) {
    if (++looked % LOOKED_AT === 0) yield '';
    if ((!usedOnly || value !== 0) && wanted(name)) add(name, kind, value);
  }
  for (const h of stats.histograms()) {
    if (++looked % LOOKED_AT === 0) yield '';
    if ((!usedOnly || h.count > 0) && wanted(h.name)) add(h.name, 'histogram', h);
  }
  for (const name of [...families.keys()].sort()) {
    const { kind, samples } = families.get(name) as EnvoyFamily;
    let out = familyHead(name, `Envoy's ${name.slice('envoy_'.length)}`, kind);
    // Two dotted names may come to one here: the later one stands.
    const told = new Map(samples.map(({ labels, value }) => [labels, value]));
    for (const [labels, value] of told) {
      out += typeof value === 'number' ? `${name}${labels === '' ? '' : `{${labels}}`} ${value}\n` : histogramText(name, labels, value);
      if (out.length > PIECE_LENGTH) {
        yield out;
        out = '';
      }
    }
    yield out;
  }
}
const PIECE_LENGTH = 16_384;

const histogramText = (name: string, labels: string, h: HistogramStat): string => {
  const open = `${name}_bucket{${labels}${labels === '' ? '' : ','}le="`;
  const all = labels === '' ? '' : `{${labels}}`;
  let out = '';
  for (const [bound, count] of cumulative(h)) out += `${open}${bound}"} ${count}\n`;
  return `${out}${open}+Inf"} ${h.count}\n${name}_sum${all} ${h.sum}\n${name}_count${all} ${h.count}\n`;
};

/** How many values are at or below each of Envoy's default bounds. */
export const cumulative = (h: HistogramStat, bounds = DEFAULT_BUCKETS): [bound: number, count: number][] => {
  const buckets = h.buckets();
  let at = 0;
  let seen = 0;
  return bounds.map((bound) => {
    for (; at < buckets.length && (buckets[at]?.low ?? 0) <= bound; at++) seen += buckets[at]?.count ?? 0;
    return [bound, seen];
  });
};
