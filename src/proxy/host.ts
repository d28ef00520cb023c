// One upstream address of one cluster: its load, its health and the connections kept to it. It survives endpoint updates that
// keep the address, so pools, ejections and counters do too.

import type { Locality } from '../xds/gen/types.ts';
import type { HostView } from './data-plane.ts';
import { AnswerCount } from './outlier-rates.ts';
import type { Http1Pool } from './upstream-pool.ts';
import type { UpstreamTransport } from './upstream-transport.ts';

export class Host implements HostView {
  /** 'ip:port', IPv6 in brackets. */
  readonly address: string;
  /** An IP address, or the path of a pipe. */
  readonly ip: string;
  readonly port: number;
  hostname = '';
  weight = 1;
  priority = 0;
  locality: Locality | undefined;
  metadata: unknown;
  edsHealth: string | undefined;
  /** From EDS: UNHEALTHY, DRAINING and TIMEOUT take no new requests. */
  edsHealthy = true;
  ejected = false;
  ejectedAtMs = 0;
  ejections = 0;
  consecutive5xx = 0;
  consecutiveGateway = 0;
  consecutiveLocal = 0;
  readonly answers = new AnswerCount();
  readonly localAnswers = new AnswerCount();
  /** Left the cluster: its pools close as they fall idle. */
  removed = false;
  /** What connections to it speak; chosen from the endpoint's metadata. */
  transport: UpstreamTransport | undefined;
  /** One per variant of the transport (ALPN override, automatic SNI). */
  pools: Http1Pool[] = [];
  readonly stats = { cxActive: 0, cxTotal: 0, cxConnectFail: 0, rqActive: 0, rqTotal: 0, rqSuccess: 0, rqError: 0, rqTimeout: 0 };
  /** EDF place of the balancer. */
  edfDeadline = 0;

  constructor(ip: string, port: number) {
    this.ip = ip;
    this.port = port;
    this.address = ip.startsWith('/') ? ip : ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
  }

  get healthy(): boolean {
    return this.edsHealthy && !this.ejected;
  }
}

const UNHEALTHY: ReadonlySet<string> = new Set(['UNHEALTHY', 'DRAINING', 'TIMEOUT']);
export const isHealthyStatus = (status: string | number | undefined): boolean => typeof status !== 'string' || !UNHEALTHY.has(status);
