// What every connection of a data plane shares.

import type { Log } from '../base/log.ts';
import type { Http1Writer } from '../wire/http1-writer.ts';
import type { Clock } from './clock.ts';
import type { ClusterRuntime } from './cluster-runtime.ts';
import type { HttpFilterRegistry } from './http-filters.ts';
import type { Observer } from './observer.ts';
import type { SecretStore } from './secrets.ts';
import type { TimerWheel } from './timer-wheel.ts';

export interface ProxyEnvironment {
  readonly log: Log;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly random: () => number;
  readonly observer: Observer;
  readonly requestWriter: Http1Writer;
  readonly responseWriter: Http1Writer;
  readonly secrets: SecretStore;
  readonly filters: HttpFilterRegistry;
  /** undefined: no such cluster, or it is not warm yet. */
  cluster(name: string): ClusterRuntime | undefined;
  /** Stands for a loopback client in x-forwarded-for: this machine's own address. */
  readonly ownAddress: string;
  readonly draining: boolean;
  /** `date` header text, made once a second. */
  date(): string;
}
