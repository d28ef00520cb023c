// One upstream address of one cluster: its load, its health and the connections kept to it. It survives endpoint updates that
// keep the address, so pools, ejections and counters do too.

import type { Socket } from 'node:net';
import type { HostLocality } from '../../plan/stream-info.ts';
import type { Locality } from '../../xds/gen/types.ts';
import type { PeakEwma } from '../balance/peak-ewma.ts';
import type { HostChecks, HostView } from '../data-plane.ts';
import type { UpstreamTransport } from '../transport/upstream-transport.ts';
import type { UpstreamPool } from '../upstream/upstream-stream.ts';
import { FLAG_BIT, type HostState, LocalHostState } from './host-state.ts';

export type HostHealth = 'healthy' | 'degraded' | 'unhealthy';

/** Where and as whom a host is asked for its health, where that is not where requests go. */
export interface HostCheck {
  readonly ip: string;
  readonly port: number;
  readonly hostname: string;
}

const DEGRADED = FLAG_BIT.degraded | FLAG_BIT.degradedByAnswer;

export class Host implements HostView {
  /** 'ip:port', IPv6 in brackets. */
  address: string;
  /** What it is known by under its cluster: name and address, or the name alone where the address may change (LOGICAL_DNS). */
  readonly key: string;
  /** An IP address, or the path of a pipe. */
  ip: string;
  readonly port: number;
  hostname = '';
  weight = 1;
  priority = 0;
  locality: Locality | undefined;
  /** With what the configuration says of it; the same object for all hosts that were given together. */
  place: HostLocality | undefined;
  metadata: unknown;
  edsHealth: string | undefined;
  /** On the wheel's clock; slow start counts from here. */
  addedAtMs = 0;
  /** From EDS: UNHEALTHY, DRAINING and TIMEOUT take no new requests. */
  edsHealthy = true;
  state: HostState = new LocalHostState();
  /** It is asked for its health; until it has answered it takes no requests. */
  checked = false;
  /** Until then it does not even count (ignore_new_hosts_until_first_hc). */
  waitsForCheck = false;
  /** No longer among the endpoints, and kept while it answers that it is well. */
  leaving = false;
  healthCheck: HostCheck | undefined;
  /** As the cluster saw it last. */
  seenHealthy = true;
  seenFailed = false;
  /** Of answers, where the balancer asks. */
  ewma: PeakEwma | undefined;
  /** Left the cluster: its pools close as they fall idle. */
  removed = false;
  /** What connections to it speak; chosen from the endpoint's metadata. */
  transport: UpstreamTransport | undefined;
  /** Connections that pass bytes, where they are to end when it fails. */
  tied: Set<Socket> | undefined;
  /** One per variant of the transport (ALPN override, automatic SNI). */
  pools: UpstreamPool[] = [];
  readonly stats = { cxActive: 0, cxTotal: 0, cxConnectFail: 0, rqActive: 0, rqTotal: 0, rqSuccess: 0, rqError: 0, rqTimeout: 0 };
  /** EDF place of the balancer. */
  edfDeadline = 0;

  constructor(ip: string, port: number, hostname = '', logical = false) {
    this.ip = ip;
    this.port = port;
    this.hostname = hostname;
    this.address = addressOf(ip, port);
    this.key = logical ? `${hostname}|${port}` : `${hostname}|${this.address}`;
  }

  /** The name leads elsewhere now: new connections go there, those it has stay. */
  moveTo(ip: string): void {
    this.ip = ip;
    this.address = addressOf(ip, this.port);
  }

  get ejected(): boolean {
    return this.state.ejected;
  }
  get health(): HostHealth {
    if (!this.edsHealthy || this.ejected) return 'unhealthy';
    const { flags } = this.state;
    if (this.checked && (flags & (FLAG_BIT.checked | FLAG_BIT.failed)) !== FLAG_BIT.checked) return 'unhealthy';
    const degraded = (flags & DEGRADED) !== 0 || this.edsHealth === 'DEGRADED';
    return degraded ? 'degraded' : 'healthy';
  }
  get healthy(): boolean {
    return this.health === 'healthy';
  }
  /** It counts in no share of healthy hosts. */
  get excluded(): boolean {
    if (this.edsHealth === 'DRAINING') return true;
    if (!this.checked) return false;
    const { flags } = this.state;
    return (flags & FLAG_BIT.excluded) !== 0 || (this.waitsForCheck && (flags & FLAG_BIT.checked) === 0);
  }
  get checks(): HostChecks {
    const flags = this.checked ? this.state.flags : this.state.flags & FLAG_BIT.degradedByAnswer;
    const has = (bit: number): boolean => (flags & bit) !== 0;
    const unknown = this.checked && !has(FLAG_BIT.checked);
    return {
      failed: unknown || has(FLAG_BIT.failed),
      timedOut: has(FLAG_BIT.timedOut),
      degraded: has(FLAG_BIT.degraded),
      degradedByAnswer: has(FLAG_BIT.degradedByAnswer),
      pending: unknown && this.waitsForCheck,
      excluded: has(FLAG_BIT.excluded),
      leaving: this.leaving,
    };
  }
  /** Its connections are not to be kept. */
  get failed(): boolean {
    return this.ejected || (this.checked && (this.state.flags & FLAG_BIT.failed) !== 0);
  }
}

const addressOf = (ip: string, port: number): string => (ip.startsWith('/') ? ip : ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const UNHEALTHY: ReadonlySet<string> = new Set(['UNHEALTHY', 'DRAINING', 'TIMEOUT']);
export const isHealthyStatus = (status: string | number | undefined): boolean => typeof status !== 'string' || !UNHEALTHY.has(status);
