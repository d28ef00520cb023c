// The life of a `skein proxy` process: start, ready, a hot restart by a successor or of a predecessor, drain, end. Signals:
// SIGTERM and SIGINT end it, SIGUSR1 reopens logs, SIGUSR2 hands over to a successor.

import { writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { Log } from '../base/log.ts';
import type { Heir } from '../proxy/bootstrap/handover.ts';
import { HotRestart } from '../proxy/bootstrap/hot-restart.ts';
import { overloadConfig } from '../proxy/bootstrap/overload-config.ts';
import { ProxyServer } from '../proxy/bootstrap/proxy-server.ts';
import { systemClock } from '../proxy/clock.ts';
import type { ListeningSockets } from '../proxy/listener/listening-sockets.ts';
import { kernelOriginalDestination } from '../proxy/listener/original-destination.ts';
import type { OverloadConfig } from '../proxy/overload.ts';
import { compileLate, keepMemoryLow } from '../proxy/resident-memory.ts';
import type { Bootstrap, CommandLineOptions } from '../xds/gen/types.ts';
import type { XdsTransport } from '../xds/transport.ts';
import { packageVersion } from './package-version.ts';
import type { ProxyFlags } from './proxy-flags.ts';

/** What the agent, if there is one, does with the process's life. */
export interface Companion {
  notReady(): string;
  open(): Promise<void>;
  takeOver(): void;
  release(): void;
  stop(): Promise<void>;
}

export interface ServeOptions {
  readonly bootstrap: Bootstrap;
  readonly flags: ProxyFlags;
  /** Absent: what the bootstrap's runtime says, and the process's own limits. */
  readonly overload?: OverloadConfig;
  /** Where the flag is not given. */
  readonly drainTimeS: number;
  readonly log: Log;
  readonly transports: ReadonlyMap<string, XdsTransport>;
  /** Of the control plane, where it is told what happens. */
  readonly summaries?: XdsTransport | undefined;
  readonly sockets: ListeningSockets;
  /** What was handed down; undefined for a process that was started by itself. */
  readonly heir: Heir | undefined;
  readonly token: () => string | undefined;
  attach(server: ProxyServer, stop: () => void): Companion;
}

/** Views show what happened up to so long ago. */
const SUMMARIES_MS = 5_000;
/** A successor has this long to be ready. */
const READY_WITHIN_MS = 60_000;

/** Runs until a signal, `/quitquitquit`, or until a successor serves. Ends the process. */
export const serve = async (options: ServeOptions): Promise<void> => {
  compileLate();
  const { flags, log, sockets, heir } = options;
  const stopAsked = Promise.withResolvers<void>();
  const replaced = Promise.withResolvers<void>();
  onStopSignals(() => stopAsked.resolve());
  const restart = new HotRestart({
    epoch: heir?.handover.epoch ?? 0,
    inCharge: heir === undefined,
    predecessors: heir?.handover.predecessors ?? [],
    sockets,
    token: options.token,
    notifyFd: flags.notifyFd,
    readyWithinMs: READY_WITHIN_MS,
    impossible: impossibleBecause(flags),
    log,
    stepBack: () => {
      server.stopAccepting(true);
      companion.release();
      replaced.resolve();
    },
  });
  process.on('SIGUSR2', () => void restart.request());
  const server = makeServer(options, restart, () => stopAsked.resolve());
  process.on('SIGUSR1', () => void server.admin({ method: 'POST', path: '/reopen_logs', body: '' }));
  const companion = options.attach(server, () => stopAsked.resolve());
  server.start();
  if (heir === undefined) await server.openAdmin();
  else await Promise.race([takeOver(heir, server, companion, options).then(() => restart.takeCharge()), stopAsked.promise]);
  if (flags.adminAddressPath !== undefined && server.adminAddress !== undefined)
    await writeFile(flags.adminAddressPath, server.adminAddress);
  void server.whenLive().then(() => {
    log.info('ready', { ms: Math.round(performance.now()), epoch: restart.status.epoch });
    keepMemoryLow(systemClock, () => server.served());
    for (const { key, name } of sockets.unused)
      log.warning('a descriptor that was handed down is not used', { address: key, name: name ?? '' });
  });
  if (flags.mode === 'init_only') {
    await server.whenLive();
    stopAsked.resolve();
  }
  await Promise.race([stopAsked.promise, replaced.promise]);
  restart.abort();
  const terminationMs = Math.min(flags.drainTimeS ?? options.drainTimeS, terminationDrainS()) * 1000;
  log.info('draining', { connections: server.activeConnections() });
  if (restart.status.state === 'handed over') await server.drain(flags.parentShutdownTimeS * 1000, stopAsked.promise);
  if (restart.status.state !== 'handed over' || (await isDone(stopAsked.promise))) await server.drain(terminationMs);
  await server.close();
  await companion.stop();
  await restart.settled();
  process.exit(0);
};

const isDone = (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<false>((resolve) => setImmediate(resolve, false))]);

const takeOver = async (heir: Heir, server: ProxyServer, companion: Companion, { sockets, flags, log }: ServeOptions): Promise<void> => {
  const open = async (): Promise<void> => {
    await Promise.all([server.openAdmin(), companion.open()]);
  };
  const notReady = (): string => (server.ready ? companion.notReady() : 'its first configuration is not in force');
  const told = (): void => {
    if (flags.notifyFd !== undefined) tellSupervisor(flags.notifyFd);
  };
  await heir.takeOver(notReady, open, () => sockets.keys, told);
  sockets.closeUnused();
  companion.takeOver();
  log.info('took over', { epoch: heir.handover.epoch, from: heir.handover.predecessors.at(-1) ?? 0 });
};

const tellSupervisor = (fd: number): void => {
  try {
    writeSync(fd, `MAINPID=${process.pid}\n`);
  } catch {
    // It is gone; whoever starts it again finds us by other means.
  }
};

const impossibleBecause = (flags: ProxyFlags): string => {
  if (!flags.hotRestart) return 'it was started with --disable-hot-restart';
  // A container ends with its first process, and every other process in it.
  return process.pid === 1 ? 'this is the first process of its container, which would end with it' : '';
};

// Before anything listens: a stop during the start drains too. A second signal ends at once.
const onStopSignals = (stop: () => void): void => {
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(1);
      stop();
    });
  }
};

const makeServer = (options: ServeOptions, hotRestart: HotRestart, quit: () => void): ProxyServer => {
  const { bootstrap, flags, log, transports, sockets } = options;
  return new ProxyServer({
    bootstrap,
    log,
    version: packageVersion(),
    transports,
    sockets,
    hotRestart,
    node: { id: flags.serviceNode, cluster: flags.serviceCluster },
    commandLine: commandLineOf(flags, options.drainTimeS, hotRestart.status.epoch),
    drainTimeMs: (flags.drainTimeS ?? options.drainTimeS) * 1000,
    overload: options.overload ?? overloadConfig(undefined, bootstrap, new Set()),
    drainGradually: flags.drainStrategy === 'gradual',
    logFlushMs: flags.logFlushMs,
    rotateMetricsMs: durationMs(process.env['METRIC_ROTATION_INTERVAL']),
    summaries: options.summaries && { transport: options.summaries, everyMs: SUMMARIES_MS },
    rejectUnknownFields: flags.rejectUnknownDynamicFields,
    originalDestination: kernelOriginalDestination,
    quit,
    concurrency: Math.max(1, flags.concurrency),
    // Its counts in shared memory stay, and its connections are gone: whoever supervises this process starts it anew.
    failed: () => process.exit(1),
  });
};

/** Of Istio's variables: `90s`, `1h30m`; anything else is not set. */
const durationMs = (text = ''): number | undefined => {
  const m = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text);
  const [hours, minutes, seconds] = (m ?? []).slice(1).map((n) => Number(n ?? 0));
  return hours === undefined ? undefined : ((hours * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0)) * 1000;
};

/** Istio's terminationDrainDuration and its variable. */
const terminationDrainS = (): number => {
  const given = Number(process.env['TERMINATION_DRAIN_DURATION_SECONDS'] ?? 5);
  return Number.isFinite(given) && given >= 0 ? given : 5;
};

const commandLineOf = (flags: ProxyFlags, drainTimeS: number, epoch: number): CommandLineOptions => ({
  base_id: flags.baseId,
  concurrency: Math.max(1, flags.concurrency),
  config_path: flags.configPath,
  config_yaml: flags.configYaml,
  log_level: flags.logLevel,
  log_path: flags.logPath,
  service_cluster: flags.serviceCluster,
  service_node: flags.serviceNode,
  admin_address_path: flags.adminAddressPath,
  drain_time: `${flags.drainTimeS ?? drainTimeS}s`,
  drain_strategy: flags.drainStrategy === 'gradual' ? 'Gradual' : 'Immediate',
  parent_shutdown_time: `${flags.parentShutdownTimeS}s`,
  restart_epoch: epoch,
  disable_hot_restart: !flags.hotRestart,
});
