// One upstream address of one cluster: its load, its health and the connections kept to it. It survives endpoint updates that
// keep the address, so pools, ejections and counters do too.

import type { Locality } from '../xds/gen/types.ts';
import type { HostView } from './data-plane.ts';
import { type HostState, LocalHostState } from './host-state.ts';
import type { UpstreamPool } from './upstream-stream.ts';
import type { UpstreamTransport } from './upstream-transport.ts';

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
  metadata: unknown;
  edsHealth: string | undefined;
  /** On the wheel's clock; slow start counts from here. */
  addedAtMs = 0;
  /** From EDS: UNHEALTHY, DRAINING and TIMEOUT take no new requests. */
  edsHealthy = true;
  state: HostState = new LocalHostState();
  /** Left the cluster: its pools close as they fall idle. */
  removed = false;
  /** What connections to it speak; chosen from the endpoint's metadata. */
  transport: UpstreamTransport | undefined;
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
  get healthy(): boolean {
    return this.edsHealthy && !this.ejected;
  }
}

const addressOf = (ip: string, port: number): string => (ip.startsWith('/') ? ip : ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const UNHEALTHY: ReadonlySet<string> = new Set(['UNHEALTHY', 'DRAINING', 'TIMEOUT']);
export const isHealthyStatus = (status: string | number | undefined): boolean => typeof status !== 'string' || !UNHEALTHY.has(status);
