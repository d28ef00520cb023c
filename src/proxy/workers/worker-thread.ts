// Where a further worker begins: a thread with a data plane of its own that takes what the main thread has taken, on sockets that
// the main thread gives it, and says what it has counted when it is asked. What goes wrong here and is not caught ends the thread,
// and with it the process.

import { parentPort, workerData } from 'node:worker_threads';
import type { Log, LogFields, LogLevel } from '../../base/log.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { connectionLimits } from '../bootstrap/overload-config.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Demanded } from '../on-demand/demand.ts';
import { keepMemoryLow } from '../resident-memory.ts';
import { AllWorkers } from './all-workers.ts';
import type { Change, FromWorker, Severity, ToWorker, WorkerState } from './messages.ts';
import { makePlane } from './plane.ts';
import { sharedClock } from './shared-clock.ts';
import { SharedSlots } from './shared-slots.ts';
import { Signals } from './signals.ts';
import { totalsOf } from './totals.ts';
import type { WorkerStart } from './worker-handle.ts';
import { WorkerSockets } from './worker-sockets.ts';
import { WorkerTaps } from './worker-taps.ts';

/** Enough for telling a quiet sidecar from a busy one. */
const RECORDS_EVERY_MS = 10_000;
const EXPORT_CLOSE_MS = 500;

const SEVERITIES: readonly LogLevel[] = ['debug', 'info', 'warning', 'error', 'off'];

const portLog = (send: (message: FromWorker) => void, scope: string, level: { value: LogLevel }): Log => {
  const at =
    (severity: Severity) =>
    (message: string, fields: LogFields = {}): void => {
      if (SEVERITIES.indexOf(severity) >= SEVERITIES.indexOf(level.value)) send({ kind: 'log', severity, scope, message, fields });
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warning: at('warning'),
    error: at('error'),
    scope: (name) => portLog(send, name, level),
    level,
  };
};

const serve = (port: NonNullable<typeof parentPort>): void => {
  const start = workerData as WorkerStart;
  const send = (message: FromWorker): void => port.postMessage(message);
  const log = portLog(send, 'skein', { value: start.logLevel });
  const clock = sharedClock(start.clockOrigin);
  const signals = new Signals((key) => send({ kind: 'signal', key }));
  const sockets = new WorkerSockets((open) => send({ kind: 'sockets', open }));
  const { plane, telemetry } = makePlane(start.settings, {
    log,
    clock,
    random: Math.random,
    own: {
      connectionLimit: connectionLimits(start.limits),
      sockets,
      sharing: new AllWorkers(new SharedSlots(start.memory), signals, false, () => clock.monotonicMs()),
    },
  });
  const taps = new WorkerTaps(telemetry, start.settings.node, clock, (id, record, skipped) =>
    send({ kind: 'tapped', id, record, skipped }),
  );
  let applied = 0;
  let said = '';
  const tell = (): void => {
    const state = { applied, ready: plane.ready, bindFailures: [...plane.bindFailures()], demanded: listed(plane.demanded()) };
    const text = JSON.stringify(state);
    if (text !== said) send({ kind: 'state', state });
    said = text;
  };
  plane.onChange(tell);
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'change':
        try {
          apply(plane, message.change);
        } catch (problem) {
          if (!(problem instanceof PlanError)) throw problem;
          // The main thread has taken it. An address that this worker waits for is tried again; anything else must not happen.
          log.warning('a worker refuses what the proxy has taken', { problem: problem.message });
        }
        applied = message.number;
        tell();
        break;
      case 'socket':
        sockets.give(message.socket);
        break;
      case 'signal':
        signals.hear(message.key);
        break;
      case 'count': {
        telemetry.sinks.countInto(plane.stats);
        send({ kind: 'totals', id: message.id, totals: totalsOf(plane, telemetry.registry) });
        break;
      }
      case 'taps':
        taps.set(message.taps);
        break;
      case 'resetCounters':
        plane.stats.resetCounters();
        break;
      case 'reopenLogs':
        for (const problem of telemetry.sinks.reopen()) log.error('an access log cannot be opened anew', { problem });
        break;
      case 'level':
        log.level.value = message.level;
        break;
      case 'close':
        void telemetry
          .closeExports(EXPORT_CLOSE_MS)
          .then(() => plane.close())
          .then(() => telemetry.close())
          .then(() => {
            send({ kind: 'closed' });
            port.close();
          });
        break;
    }
  });
  tell();
  const { summariesMs: everyMs, node } = start.settings;
  if (everyMs !== undefined)
    void import('../telemetry/summaries.ts').then(({ recordSummaries }) =>
      recordSummaries({ telemetry, node, clock, everyMs, deliver: (report) => send({ kind: 'summary', report }) }),
    );
  keepMemoryLow(clock, () => telemetry.records);
  let told = 0;
  const tellRecords = (): void => {
    if (telemetry.records !== told) send({ kind: 'records', records: telemetry.records });
    told = telemetry.records;
    clock.after(RECORDS_EVERY_MS, tellRecords);
  };
  clock.after(RECORDS_EVERY_MS, tellRecords);
};

const listed = ({ host, cluster, listener }: Demanded): WorkerState['demanded'] => ({
  host: [...host],
  cluster: [...cluster],
  listener: [...listener],
});

const apply = (plane: DataPlane, change: Change): void => {
  if ('hosts' in change) plane.updateHosts(change.hosts);
  else if ('absent' in change) plane.notThere(change.absent, change.name);
  else if ('set' in change) {
    if (change.set === 'cluster') plane.setCluster(change.resource);
    else if (change.set === 'endpoints') plane.setEndpoints(change.resource);
    else if (change.set === 'listener') plane.setListener(change.resource);
    else if (change.set === 'routes') plane.setRoutes(change.resource);
    else if (change.set === 'secret') plane.setSecret(change.resource);
    else plane.setExtension(change.resource);
  } else if ('remove' in change) {
    if (change.remove === 'cluster') plane.removeCluster(change.name);
    else if (change.remove === 'listener') plane.removeListener(change.name);
    else if (change.remove === 'routes') plane.removeRoutes(change.name);
    else if (change.remove === 'secret') plane.removeSecret(change.name);
    else if (change.remove === 'extension') plane.removeExtension(change.name);
    else plane.giveUpExtension(change.name);
  } else if (change.act === 'drain') plane.drain();
  else if (change.act === 'failHealth' || change.act === 'passHealth') plane.failHealth(change.act === 'failHealth');
  else if (change.act === 'drainGracefully') plane.drainGracefully(change.inboundOnly);
  else plane.stopListening(change.inboundOnly);
};

if (parentPort !== null) serve(parentPort);
