// Overload: how near the process is to its limits (connections, heap, the memory of its control group, descriptors), and what
// it stops doing then. Envoy's overload manager with its names: monitors give a pressure, triggers turn pressures into the
// state of an action. Refreshed by one slow timer; the hot path reads plain fields.

import { readFileSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import type { StatsStore } from './stats-store.ts';

export const OVERLOAD_ACTIONS = [
  'envoy.overload_actions.stop_accepting_requests',
  'envoy.overload_actions.disable_http_keepalive',
  'envoy.overload_actions.stop_accepting_connections',
  'envoy.overload_actions.reject_incoming_connections',
  'envoy.overload_actions.shrink_heap',
] as const;
export type OverloadAction = (typeof OVERLOAD_ACTIONS)[number];

export interface OverloadTrigger {
  /** The monitor. */
  readonly name: string;
  /** Fully on from here, and off below `from`; between them in part. */
  readonly from: number;
  readonly full: number;
}

export interface OverloadConfig {
  readonly refreshMs: number;
  /** Bytes, by monitor: resident memory against them is the pressure. `cgroup`: the limit that the system sets. */
  readonly memory: ReadonlyMap<string, number | 'cgroup'>;
  /** Infinity: none. */
  readonly maxConnections: number;
  readonly actions: ReadonlyMap<OverloadAction, readonly OverloadTrigger[]>;
}

export interface OverloadOptions {
  readonly config: OverloadConfig;
  readonly stats: StatsStore;
  readonly log: Log;
  readonly random: () => number;
  readonly residentBytes?: () => number;
  readonly descriptors?: number;
  readonly cgroupBytes?: number | undefined;
}

/** Of the descriptors, what is not for connections: listeners, logs, the control plane, the runtime. */
const DESCRIPTORS_RESERVED = 64;
const SHRINK_EVERY_MS = 10_000;

export const UNLIMITED: OverloadConfig = { refreshMs: 1_000, memory: new Map(), maxConnections: Infinity, actions: new Map() };

export class Overload {
  /** Downstream connections that may be open: each may need one upstream too. */
  readonly maxConnections: number;
  /** Each from 0 (not at all) to 1 (always). */
  stopRequests = 0;
  disableKeepalive = 0;
  stopConnections = false;
  rejectConnections = 0;
  readonly #options: OverloadOptions;
  readonly #limits: ReadonlyMap<string, number>;
  readonly #timer: NodeJS.Timeout | undefined;
  #changed: () => void = () => {};
  #shrunkMs = -SHRINK_EVERY_MS;

  constructor(options: OverloadOptions) {
    this.#options = options;
    const { config, cgroupBytes = cgroupLimit(), descriptors = descriptorLimit() } = options;
    this.maxConnections = Math.min(config.maxConnections, Math.max(1, Math.floor((descriptors - DESCRIPTORS_RESERVED) / 2)));
    const limits = [...config.memory].map(([name, bytes]) => [name, bytes === 'cgroup' ? (cgroupBytes ?? Infinity) : bytes] as const);
    this.#limits = new Map(limits.filter(([, bytes]) => Number.isFinite(bytes)));
    this.#gauge('server.descriptor_limit').value = Number.isFinite(descriptors) ? descriptors : 0;
    this.#gauge('server.memory_limit').value = cgroupBytes ?? 0;
    if (this.#limits.size === 0) return;
    this.#timer = setInterval(() => this.refresh(), config.refreshMs);
    this.#timer.unref();
    this.refresh();
  }

  /** Called when connections are to be taken again, or no more. */
  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  /** This request is answered with 503. */
  shedsRequest({ statPrefix }: { readonly statPrefix: string }): boolean {
    if (this.stopRequests === 0 || this.#options.random() >= this.stopRequests) return false;
    this.#options.stats.counter(`http.${statPrefix}.downstream_rq_overload_close`).value++;
    return true;
  }

  /** This connection ends with its next answer. */
  get endsConnection(): boolean {
    return this.disableKeepalive > 0 && this.#options.random() < this.disableKeepalive;
  }

  /** This connection is not served. */
  get refusesConnection(): boolean {
    return this.rejectConnections > 0 && this.#options.random() < this.rejectConnections;
  }

  /** Reads the monitors and sets the actions. */
  refresh(): void {
    const { config, residentBytes = process.memoryUsage.rss } = this.#options;
    const resident = residentBytes();
    const pressures = new Map([...this.#limits].map(([name, bytes]) => [name, resident / bytes] as const));
    for (const [name, pressure] of pressures) this.#gauge(`overload.${name}.pressure`).value = Math.round(pressure * 100);
    const before = this.stopConnections;
    for (const [action, triggers] of config.actions) {
      const state = Math.max(0, ...triggers.map((t) => triggered(t, pressures.get(t.name) ?? 0)));
      this.#set(action, state);
    }
    if (before !== this.stopConnections) this.#changed();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #set(action: OverloadAction, state: number): void {
    const active = this.#gauge(`overload.${action}.active`);
    const isActive = state >= 1 ? 1 : 0;
    if (active.value !== isActive) this.#options.log.warning(isActive === 1 ? 'overload' : 'overload is over', { action });
    active.value = isActive;
    this.#gauge(`overload.${action}.scale_percent`).value = Math.round(state * 100);
    if (action === 'envoy.overload_actions.stop_accepting_requests') this.stopRequests = state;
    else if (action === 'envoy.overload_actions.disable_http_keepalive') this.disableKeepalive = state;
    else if (action === 'envoy.overload_actions.stop_accepting_connections') this.stopConnections = state >= 1;
    else if (action === 'envoy.overload_actions.reject_incoming_connections') this.rejectConnections = state;
    else if (state >= 1) this.#shrink();
  }

  #shrink(): void {
    const now = performance.now();
    if (now - this.#shrunkMs < SHRINK_EVERY_MS) return;
    this.#shrunkMs = now;
    this.#options.stats.counter('overload.envoy.overload_actions.shrink_heap.shrink_count').value++;
    (globalThis as { readonly Bun?: { gc(synchronously: boolean): void } }).Bun?.gc(false);
  }

  #gauge(name: string) {
    return this.#options.stats.gauge(name);
  }
}

const triggered = ({ from, full }: OverloadTrigger, pressure: number): number => {
  if (pressure >= full) return 1;
  return pressure <= from || full <= from ? 0 : (pressure - from) / (full - from);
};

/** The soft limit: both runtimes raise it to the hard one when they start. */
const descriptorLimit = (): number => Number(/^Max open files\s+(\d+)/m.exec(readText('/proc/self/limits'))?.[1] ?? Infinity);

/** The nearest limit that the system sets for our memory; undefined without one. */
const cgroupLimit = (): number | undefined => {
  const own = /^0::(.*)$/m.exec(readText('/proc/self/cgroup'))?.[1] ?? '/';
  const parts = own.split('/').filter((p) => p !== '');
  const limits = Array.from({ length: parts.length + 1 }, (_, i) =>
    Number(readText(['/sys/fs/cgroup', ...parts.slice(0, i), 'memory.max'].join('/')).trim() || 'max'),
  );
  const least = Math.min(...limits.filter((n) => Number.isFinite(n)));
  return Number.isFinite(least) ? least : undefined;
};

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};
