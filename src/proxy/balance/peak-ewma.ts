// Skein's own policy: of two hosts drawn at random the one that would answer first, judged by its peak-sensitive moving average of
// response times times what it has in hand. A slow answer counts at once, a fast one only as time passes; a host nobody knows is
// tried when it has nothing to do. Asked for by a TypedStruct of type `skein.load_balancing.peak_ewma.v1` (PEAK_EWMA_TYPE).

import { PlanError } from '../../plan/plan-error.ts';
import { durationMs, parseDuration } from '../../xds/well-known.ts';
import type { Host } from '../cluster/host.ts';

export interface PeakEwmaPlan {
  /** Time in which an answer loses all but 1/e of its weight. */
  readonly decayMs: number;
  readonly choices: number;
}

const DECAY_MS = 10_000;
const CHOICES_MAX = 16;

/** `{decay_time: "10s", choice_count: 2}`. */
export const compilePeakEwma = (config: { readonly decay_time?: unknown; readonly choice_count?: unknown }, path: string): PeakEwmaPlan => {
  for (const key of Object.keys(config))
    if (key !== '@type' && key !== 'decay_time' && key !== 'choice_count') throw new PlanError(`${path}.${key}`, 'is not known');
  const { decay_time: time, choice_count: choices = 2 } = config;
  if (time !== undefined && (typeof time !== 'string' || parseDuration(time) === undefined || durationMs(time) < 1))
    throw new PlanError(`${path}.decay_time`, 'is no duration of at least 1ms');
  if (typeof choices !== 'number' || !Number.isInteger(choices) || choices < 2 || choices > CHOICES_MAX)
    throw new PlanError(`${path}.choice_count`, `must be a whole number from 2 to ${CHOICES_MAX}`);
  return { decayMs: time === undefined ? DECAY_MS : durationMs(time), choices };
};

/** What is known of one host's answers. */
export class PeakEwma {
  /** Milliseconds. */
  cost = 0;
  /** When it was computed. */
  stampMs = 0;

  observe(tookMs: number, nowMs: number, decayMs: number): void {
    if (tookMs > this.cost) this.cost = tookMs;
    else {
      const kept = Math.exp(-Math.max(0, nowMs - this.stampMs) / decayMs);
      this.cost = this.cost * kept + tookMs * (1 - kept);
    }
    this.stampMs = nowMs;
  }

  /** With `active` requests in hand. Silence makes a host's past count less. */
  load(active: number, nowMs: number, decayMs: number): number {
    return this.cost * Math.exp(-Math.max(0, nowMs - this.stampMs) / decayMs) * (active + 1);
  }
}

/** A host that has not answered yet is not asked twice at a time while others are known. */
const UNKNOWN_COST_MS = 1e9;

export const lessLoaded = (a: Host, b: Host, nowMs: number, decayMs: number): Host =>
  loadOf(b, nowMs, decayMs) < loadOf(a, nowMs, decayMs) ? b : a;

const loadOf = (host: Host, nowMs: number, decayMs: number): number =>
  host.ewma === undefined
    ? host.stats.rqActive === 0
      ? 0
      : UNKNOWN_COST_MS + host.stats.rqActive
    : host.ewma.load(host.stats.rqActive, nowMs, decayMs);
