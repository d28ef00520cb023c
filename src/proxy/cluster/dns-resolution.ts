// STRICT_DNS and LOGICAL_DNS: each name of a cluster's assignment is looked up again and again, on its own; an answer that changes anything
// becomes an assignment of addresses. A failed lookup keeps the last answer. The first assignment waits until every name
// was looked up once, so that a cluster never warms with a part of its hosts.

import { isIP } from 'node:net';
import { PlanError } from '../../plan/plan-error.ts';
import type { Cluster, ClusterLoadAssignment, LbEndpoint } from '../../xds/gen/types.ts';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';
import type { DnsLookup } from './dns-lookup.ts';
import { compileDnsSettings, type DnsSettings } from './dns-settings.ts';

interface Target {
  readonly name: string;
  readonly timer: WheelTimer;
  addresses: readonly string[];
  asked: boolean;
  /** The bound of the wait after the next failure. */
  backOffMs: number;
}

export interface DnsEnvironment {
  readonly wheel: TimerWheel;
  readonly dns: DnsLookup;
  readonly random: () => number;
}

export class DnsResolution {
  readonly #logical: boolean;
  readonly #assignment: ClusterLoadAssignment;
  readonly #settings: DnsSettings;
  readonly #environment: DnsEnvironment;
  readonly #resolved: (assignment: ClusterLoadAssignment) => void;
  readonly #targets: readonly Target[];
  #unasked: number;
  #closed = false;

  constructor(config: Cluster, environment: DnsEnvironment, resolved: (assignment: ClusterLoadAssignment) => void) {
    this.#logical = config.type === 'LOGICAL_DNS';
    this.#assignment = config.load_assignment ?? {};
    this.#environment = environment;
    this.#resolved = resolved;
    this.#settings = compileDnsSettings(config);
    const endpoints = (this.#assignment.endpoints ?? []).flatMap((l) => l.lb_endpoints ?? []);
    if (this.#logical && endpoints.length !== 1) throw new PlanError('load_assignment', 'LOGICAL_DNS takes exactly one endpoint');
    this.#targets = [...new Set(endpoints.map(nameOf))].map((name, i) => ({
      name,
      timer: new WheelTimer(this, i),
      addresses: [],
      asked: false,
      backOffMs: this.#settings.failure?.baseMs ?? 0,
    }));
    this.#unasked = this.#targets.length;
  }

  start(): void {
    if (this.#targets.length === 0) this.#resolved(this.#assignment);
    for (const target of this.#targets) this.#ask(target);
  }

  onTimer(kind: number): void {
    const target = this.#targets[kind];
    if (target !== undefined && !this.#closed) this.#ask(target);
  }

  close(): void {
    this.#closed = true;
    for (const target of this.#targets) this.#environment.wheel.disarm(target.timer);
  }

  #ask(target: Target): void {
    const { family, respectTtl, servers } = this.#settings;
    const done = (problem: Error | undefined, addresses: readonly string[], ttlMs: number | undefined): void => {
      if (!this.#closed) this.#answered(target, problem, addresses, ttlMs);
    };
    if (isIP(target.name) !== 0) queueMicrotask(() => done(undefined, [target.name], undefined));
    else
      this.#environment.dns.resolve(
        { name: target.name, family: family === 'V4_ONLY' ? 4 : family === 'V6_ONLY' ? 6 : 0, wantTtl: respectTtl, servers },
        done,
      );
  }

  #answered(target: Target, problem: Error | undefined, all: readonly string[], ttlMs: number | undefined): void {
    const first = !target.asked;
    target.asked = true;
    if (first) this.#unasked--;
    let changed = first;
    if (problem === undefined) {
      target.backOffMs = this.#settings.failure?.baseMs ?? 0;
      const addresses = this.#wanted(all);
      // A logical host stays where it was while its name has no address at all.
      if (!(this.#logical && addresses.length === 0) && !sameSet(addresses, target.addresses)) {
        target.addresses = addresses;
        changed = true;
      }
    }
    // Armed first: what listens may close this.
    this.#environment.wheel.arm(target.timer, problem === undefined ? this.#refreshMs(ttlMs) : this.#failureMs(target));
    if (changed && this.#unasked === 0) this.#publish();
  }

  #refreshMs(ttlMs: number | undefined): number {
    const { respectTtl, refreshMs, jitterMs } = this.#settings;
    const wait = respectTtl && ttlMs !== undefined && ttlMs > 0 ? ttlMs : refreshMs;
    return wait + (jitterMs > 0 ? Math.floor(this.#environment.random() * jitterMs) : 0);
  }

  /** Doubling, each wait at random below its bound, so that many sidecars do not ask at the same time. */
  #failureMs(target: Target): number {
    const failure = this.#settings.failure;
    if (failure === undefined) return this.#settings.refreshMs;
    const bound = target.backOffMs;
    target.backOffMs = Math.min(failure.maxMs, bound * 2);
    return Math.max(1, Math.floor(this.#environment.random() * bound));
  }

  // AUTO prefers IPv6 and V4_PREFERRED IPv4, falling back to the other; ALL takes both. A logical host has one address: the first.
  #wanted(all: readonly string[]): readonly string[] {
    const family = this.#settings.family;
    let found = all;
    if (family === 'AUTO' || family === 'V4_PREFERRED') {
      const preferred = all.filter((ip) => isIP(ip) === (family === 'AUTO' ? 6 : 4));
      if (preferred.length > 0) found = preferred;
    }
    return this.#logical ? found.slice(0, 1) : found;
  }

  #publish(): void {
    const byName = new Map(this.#targets.map((target) => [target.name, target.addresses]));
    this.#resolved({
      ...this.#assignment,
      endpoints: (this.#assignment.endpoints ?? []).map((locality) => ({
        ...locality,
        lb_endpoints: (locality.lb_endpoints ?? []).flatMap((endpoint) => {
          const name = nameOf(endpoint);
          return (byName.get(name) ?? []).map((ip) => ({
            ...endpoint,
            endpoint: {
              ...endpoint.endpoint,
              hostname: (endpoint.endpoint?.hostname ?? '') === '' ? name : (endpoint.endpoint?.hostname ?? name),
              address: { socket_address: { ...endpoint.endpoint?.address?.socket_address, address: ip } },
            },
          }));
        }),
      })),
    });
  }
}

const nameOf = (endpoint: LbEndpoint): string => endpoint.endpoint?.address?.socket_address?.address ?? '';

const sameSet = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((ip) => b.includes(ip));
