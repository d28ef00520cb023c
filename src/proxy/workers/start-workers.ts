// As many data planes as the sidecar is to have workers, and one that stands for them all. With one worker nothing is shared and
// no thread is started.

import type { DataPlane } from '../data-plane.ts';
import { ListeningSockets } from '../listener/listening-sockets.ts';
import type { SummaryReport } from '../telemetry/summary-link.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { AllWorkers } from './all-workers.ts';
import { MainSockets } from './main-sockets.ts';
import { makePlane, type PlaneParts, type PlaneSettings } from './plane.ts';
import { clockOrigin } from './shared-clock.ts';
import { SharedSlots } from './shared-slots.ts';
import { Signals } from './signals.ts';
import { WorkerHandle, type WorkerStart } from './worker-handle.ts';
import { WorkersPlane } from './workers-plane.ts';

export interface StartOptions {
  readonly concurrency: number;
  readonly settings: PlaneSettings;
  readonly parts: Omit<PlaneParts, 'own'> & { readonly own: Omit<PlaneParts['own'], 'sharing' | 'sockets'> };
  readonly limits: WorkerStart['limits'];
  /** The process's. */
  readonly sockets: ListeningSockets | undefined;
  /** A further worker has something for the control plane. */
  readonly summary?: (report: SummaryReport) => void;
  /** A worker is gone: what it served is lost, and what it had counted in shared memory stays. */
  readonly died: (reason: string) => void;
}

export interface StartedWorkers {
  readonly dataPlane: DataPlane;
  /** The main thread's. */
  readonly telemetry: Telemetry;
  /** undefined: the main thread is the only worker. */
  readonly all: WorkersPlane | undefined;
}

export const startWorkers = (options: StartOptions): StartedWorkers => {
  const { concurrency, settings, parts } = options;
  if (concurrency <= 1) {
    const { plane, telemetry } = makePlane(settings, {
      ...parts,
      own: { ...parts.own, ...(options.sockets === undefined ? {} : { sockets: options.sockets }) },
    });
    return { dataPlane: plane, telemetry, all: undefined };
  }
  const sockets = options.sockets ?? new ListeningSockets();
  const slots = new SharedSlots();
  const signals = new Signals((key) => workers.forEach((worker) => void worker.send({ kind: 'signal', key })));
  const { plane, telemetry } = makePlane(settings, {
    ...parts,
    own: {
      ...parts.own,
      sockets: new MainSockets(sockets, concurrency, (worker, socket) => workers[worker - 1]?.send({ kind: 'socket', socket })),
      sharing: new AllWorkers(slots, signals, true, () => parts.clock.monotonicMs()),
    },
  });
  const start: WorkerStart = {
    settings,
    memory: slots.memory,
    clockOrigin: clockOrigin(),
    logLevel: parts.log.level.value,
    limits: options.limits,
  };
  const workers = Array.from(
    { length: concurrency - 1 },
    (_, i) =>
      new WorkerHandle(i + 1, start, parts.log, {
        changed: () => all.workerChanged(),
        sockets: (open) => sockets.workerHas(i + 1, open),
        signal: (key) => {
          signals.hear(key);
          workers.forEach((other, at) => {
            if (at !== i) other.send({ kind: 'signal', key });
          });
        },
        tapped: (id, record, skipped) => all.tapped(id, record, skipped),
        summary: (report) => options.summary?.(report),
        died: options.died,
      }),
  );
  const all = new WorkersPlane(plane, workers, parts.log);
  return { dataPlane: all, telemetry, all };
};
