// What the admin API is made over: the running proxy's parts, and the few acts that it may ask for.
import type { Log, LogLevel } from '../../base/log.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { Bootstrap, CommandLineOptions } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import type { DataPlane } from '../data-plane.ts';
import type { ResourceStore } from '../xds/resource-store.ts';

export type ServerState = 'LIVE' | 'DRAINING' | 'PRE_INITIALIZING' | 'INITIALIZING';

/** `POST /drain_listeners` with its options. */
export interface DrainRequest {
  /** Asks connections to leave and stops accepting when the drain time is over. */
  readonly graceful: boolean;
  readonly inboundOnly: boolean;
  /** After a graceful drain, goes on accepting. */
  readonly skipExit: boolean;
}

/** Workers besides the one whose `dataPlane` is asked. */
export interface OtherWorkers {
  /** Over all of them; rejects when one does not answer. */
  sum(): Promise<Pick<DataPlane, 'stats' | 'clusters'> & { readonly metrics: MetricRegistry }>;
  tell(message: { readonly kind: 'resetCounters' } | { readonly kind: 'level'; readonly level: LogLevel }): void;
}

export interface AdminContext {
  /** With the node as it is announced. */
  readonly bootstrap: Bootstrap;
  readonly dataPlane: Pick<DataPlane, 'clusters' | 'extensions' | 'listeners' | 'routes' | 'secrets' | 'referencedSecrets' | 'stats'>;
  readonly store: ResourceStore;
  readonly metrics: MetricRegistry;
  /** Absent: `dataPlane` and `metrics` have counted everything. */
  readonly workers?: OtherWorkers | undefined;
  readonly log: Log;
  readonly clock: Clock;
  readonly startedAtMs: number;
  readonly version: string;
  readonly commandLine: CommandLineOptions;
  state(): ServerState;
  /** Brings the gauges that are counted nowhere else up to date. */
  refreshStats(): void;
  drainListeners(how: DrainRequest): void;
  /** Hands the listening sockets to a successor; '' or why not. */
  hotRestart(): string;
  hotRestartStatus(): object;
  setHealthFailed(failed: boolean): void;
  reopenLogs(): void;
  /** Opens a tap; absent: nothing here can be tapped. */
  tap?(request: AdminRequest): Promise<AdminResponse>;
  /** Ends the process after the answer is out. */
  quit(): void;
}

export interface AdminRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly body: string;
  /** An answer in pieces is taken. */
  readonly pieces?: boolean;
}

export interface AdminResponse {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
  /** Instead of `body`: begins the answer in pieces, and answers how to stop it when its reader has gone. */
  readonly stream?: (reader: AnswerReader) => () => void;
}

/** Who reads an answer in pieces. After `end`, and after the reader has gone, nothing is sent. */
export interface AnswerReader {
  /** False: too much waits for the reader, and this piece was dropped. */
  send(piece: string): boolean;
  end(): void;
}

export const text = (body: string, status = 200): AdminResponse => ({
  status,
  headers: { 'content-type': 'text/plain; charset=UTF-8' },
  body,
});

/** Indented by one space, as Envoy prints its messages. */
export const json = (value: unknown, status = 200): AdminResponse => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: `${JSON.stringify(value, null, 1)}\n`,
});

/** `ip:port` (or `[ip]:port`, or a path) as an Address. */
export const addressOf = (where: string): { socket_address: { address: string; port_value: number } } | { pipe: { path: string } } => {
  const at = where.lastIndexOf(':');
  if (at < 0 || where.startsWith('/')) return { pipe: { path: where } };
  return { socket_address: { address: where.slice(0, at).replace(/^\[|\]$/g, ''), port_value: Number(where.slice(at + 1)) } };
};
