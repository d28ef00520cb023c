// STRICT_DNS and LOGICAL_DNS: the names of a cluster's assignment looked up again and again; every answer becomes an assignment of
// addresses. A failed lookup keeps the last answer and is tried sooner.

import { isIP } from 'node:net';
import { PlanError } from '../plan/plan-error.ts';
import type { Cluster, ClusterLoadAssignment, LbEndpoint } from '../xds/gen/types.ts';
import { durationMs } from '../xds/well-known.ts';
import type { DnsLookup } from './dns-lookup.ts';
import { type TimerWheel, WheelTimer } from './timer-wheel.ts';

const REFRESH_MS = 5_000;

export class DnsResolution {
  readonly #config: Cluster;
  readonly #assignment: ClusterLoadAssignment;
  readonly #wheel: TimerWheel;
  readonly #dns: DnsLookup;
  readonly #resolved: (assignment: ClusterLoadAssignment) => void;
  readonly #timer: WheelTimer;
  readonly #refreshMs: number;
  readonly #failureMs: number;
  readonly #family: 0 | 4 | 6;
  readonly #answers = new Map<string, readonly string[]>();
  #closed = false;

  constructor(config: Cluster, wheel: TimerWheel, dns: DnsLookup, resolved: (assignment: ClusterLoadAssignment) => void) {
    this.#config = config;
    this.#assignment = config.load_assignment ?? {};
    this.#wheel = wheel;
    this.#dns = dns;
    this.#resolved = resolved;
    this.#timer = new WheelTimer(this, 0);
    this.#refreshMs = config.dns_refresh_rate === undefined ? REFRESH_MS : durationMs(config.dns_refresh_rate);
    const failure = config.dns_failure_refresh_rate?.base_interval;
    this.#failureMs = failure === undefined ? this.#refreshMs : durationMs(failure);
    const family = config.dns_lookup_family ?? 'AUTO';
    this.#family = family === 'V4_ONLY' ? 4 : family === 'V6_ONLY' ? 6 : 0;
    if (config.type === 'LOGICAL_DNS' && this.#endpoints().length !== 1)
      throw new PlanError('load_assignment', 'LOGICAL_DNS takes exactly one endpoint');
  }

  start(): void {
    const names = [...new Set(this.#endpoints().map((e) => e.endpoint?.address?.socket_address?.address ?? ''))];
    let left = names.length;
    let failed = false;
    if (left === 0) this.#resolved(this.#assignment);
    for (const name of names) {
      const done = (problem: Error | undefined, addresses: readonly string[]): void => {
        if (this.#closed) return;
        if (problem !== undefined) failed = true;
        else this.#answers.set(name, addresses);
        if (--left > 0) return;
        this.#publish();
        this.#wheel.arm(this.#timer, failed ? this.#failureMs : this.#refreshMs);
      };
      if (isIP(name) !== 0) queueMicrotask(() => done(undefined, [name]));
      else this.#dns.resolve(name, this.#family, done);
    }
  }

  onTimer(): void {
    if (!this.#closed) this.start();
  }

  close(): void {
    this.#closed = true;
    this.#wheel.disarm(this.#timer);
  }

  #endpoints(): LbEndpoint[] {
    return (this.#assignment.endpoints ?? []).flatMap((l) => l.lb_endpoints ?? []);
  }

  #publish(): void {
    const logical = this.#config.type === 'LOGICAL_DNS';
    this.#resolved({
      ...this.#assignment,
      endpoints: (this.#assignment.endpoints ?? []).map((locality) => ({
        ...locality,
        lb_endpoints: (locality.lb_endpoints ?? []).flatMap((endpoint) => {
          const socket = endpoint.endpoint?.address?.socket_address;
          const name = socket?.address ?? '';
          const found = this.#addresses(name);
          return (logical ? found.slice(0, 1) : found).map((ip) => ({
            ...endpoint,
            endpoint: {
              ...endpoint.endpoint,
              hostname: endpoint.endpoint?.hostname ?? name,
              address: { socket_address: { ...socket, address: ip } },
            },
          }));
        }),
      })),
    });
  }

  // AUTO prefers IPv6 and V4_PREFERRED IPv4, falling back to the other; ALL takes both.
  #addresses(name: string): readonly string[] {
    const all = this.#answers.get(name) ?? [];
    const family = this.#config.dns_lookup_family ?? 'AUTO';
    if (family === 'ALL' || this.#family !== 0) return all;
    const first = family === 'V4_PREFERRED' ? 4 : 6;
    const preferred = all.filter((ip) => isIP(ip) === first);
    return preferred.length > 0 ? preferred : all;
  }
}
