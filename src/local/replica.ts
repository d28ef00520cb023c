// One running replica: its namespaces, its sidecar, its application, its readiness. Order at the start: registered (not ready) →
// namespaces and redirection → sidecar with certificate and configuration → application → ready. Not ready the moment one of them ends.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HUB_ADDRESS, type WorkloadAddress } from './addresses.ts';
import type { AdminClient } from './admin-client.ts';
import { proxyEnvironment } from './launch-plan.ts';
import { openLog } from './log-file.ts';
import { type Launch, ManagedProcess } from './managed-process.ts';
import type { WorkloadPlan } from './mesh-folder.ts';
import {
  type Command,
  enterAsApplication,
  enterAsRoot,
  inDirectory,
  nsswitchText,
  type Privilege,
  resolvConfText,
  workloadHolder,
} from './namespaces.ts';
import { probeHttp, probeTcp } from './probe.ts';
import { identify, type ProcessIdentity, signal } from './process-identity.ts';
import type { Registrar } from './registrar.ts';
import { ask } from './relay-protocol.ts';
import type { ProcessKind, RunProcess, StatePaths } from './state.ts';

export interface ReplicaContext {
  readonly paths: StatePaths;
  readonly directory: string;
  readonly privilege: Privilege;
  readonly admin: AdminClient;
  readonly registrar: Registrar;
  /** pid of the hub's holder. */
  hubHolder(): number;
  readonly environment: Readonly<Record<string, string>>;
  readonly hostNsswitch: string | undefined;
  /** The command line of the sidecar or gateway, without namespace entry. */
  sidecar(of: SidecarRequest): Command;
  log(message: string): void;
  /** What runs has changed: run.json wants to be written. */
  changed(): void;
}

export interface SidecarRequest {
  readonly plan: WorkloadPlan;
  readonly name: string;
  readonly address: WorkloadAddress;
  readonly runDir: string;
  readonly logFile: string;
}

const SIDECAR_READY_PORT = 15021;
const SIDECAR_POLL_MS = 40;
const APPLICATION_POLL_MS = 50;
const HOLDER_READY_MS = 5_000;
const APPLICATION_GRACE_MS = 5_000;
const SIDECAR_GRACE_MS = 3_000;
/** What the others need to hear that a replica leaves before it does. */
const LEAVE_MS = 150;

export class Replica {
  readonly plan: WorkloadPlan;
  readonly name: string;
  readonly address: WorkloadAddress;
  readonly #context: ReplicaContext;
  readonly #sidecar: ManagedProcess | undefined;
  readonly #application: ManagedProcess | undefined;
  #holder: ChildProcess | undefined;
  #holderIdentity: ProcessIdentity | undefined;
  #sidecarReady = false;
  #applicationReady = false;
  #stopped = false;
  /** The control plane has been told that it is gone: a start that is still under way must not bring it back. */
  #left = false;
  /** Each is a generation: a loop of an older one ends by itself. */
  #sidecarWatch = 0;
  #probeWatch = 0;
  #applicationStarted = false;
  #announceReady: (() => void) | undefined;

  constructor(plan: WorkloadPlan, name: string, address: WorkloadAddress, context: ReplicaContext) {
    this.plan = plan;
    this.name = name;
    this.address = address;
    this.#context = context;
    this.#sidecar = plan.meshed ? this.#managedSidecar() : undefined;
    this.#application = plan.command.length > 0 ? this.#managedApplication() : undefined;
  }

  get id(): string {
    return `${this.name}.${this.plan.namespace}`;
  }

  get ready(): boolean {
    return (
      this.#holder !== undefined &&
      (this.#sidecar === undefined || this.#sidecarReady) &&
      (this.#application === undefined || this.#applicationReady)
    );
  }

  get restarts(): number {
    return (this.#application?.restarts ?? 0) + (this.#sidecar?.restarts ?? 0);
  }

  get processes(): RunProcess[] {
    const netnsPid = this.#holderIdentity?.pid;
    if (this.#holderIdentity === undefined || netnsPid === undefined) return [];
    const { name: workload, namespace, kind } = this.plan;
    const entry = (identity: ProcessIdentity | undefined, processKind: ProcessKind): RunProcess[] =>
      identity === undefined
        ? []
        : [{ name: this.name, kind: processKind, ...identity, netnsPid, workload, namespace, address: this.address.address }];
    return [
      ...entry(this.#holderIdentity, 'namespace'),
      ...entry(this.#sidecar?.identity, kind === 'gateway' ? 'gateway' : 'sidecar'),
      ...entry(this.#application?.identity, 'application'),
    ];
  }

  /** Resolves when ready for the first time; failures on the way are retried for ever and logged. */
  async start(): Promise<void> {
    const ready = new Promise<void>((resolve) => {
      this.#announceReady = resolve;
    });
    this.#register();
    await this.#holdNamespaces();
    if (this.#sidecar === undefined) await this.#startApplication();
    else await this.#sidecar.start(); // its readiness starts the application
    this.#updateReady();
    await ready;
  }

  /** Leaves the mesh first, then ends: what is under way is answered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sidecarWatch++;
    this.#probeWatch++;
    this.#register();
    await new Promise((resolve) => setTimeout(resolve, LEAVE_MS));
    await this.#application?.stop(APPLICATION_GRACE_MS);
    await this.#sidecar?.stop(SIDECAR_GRACE_MS);
    this.#left = true;
    this.#context.registrar.remove(this.plan.namespace, this.name);
    if (this.#holder !== undefined && this.#holderIdentity !== undefined) await endHolder(this.#holder, this.#holderIdentity);
    this.#announceReady?.();
    rmSync(this.#runDir, { recursive: true, force: true });
  }

  get #runDir(): string {
    return join(this.#context.paths.run, this.id);
  }

  #register(): void {
    if (this.#left) return;
    const { plan, name, address } = this;
    const { namespace, name: workload, labels, serviceAccount, ports, meshed } = plan;
    const ready = this.ready && !this.#stopped;
    this.#context.registrar.put({ name, namespace, workload, address: address.address, labels, serviceAccount, ports, ready, meshed });
  }

  #updateReady(): void {
    this.#register();
    this.#context.changed();
    if (this.ready) this.#announceReady?.();
  }

  async #holdNamespaces(): Promise<void> {
    const { paths, privilege, hubHolder, hostNsswitch } = this.#context;
    mkdirSync(this.#runDir, { recursive: true, mode: 0o700 });
    const resolvConf = join(this.#runDir, 'resolv.conf');
    writeFileSync(resolvConf, resolvConfText(HUB_ADDRESS, this.plan.namespace), { mode: 0o644 });
    const nsswitch = nsswitchText(hostNsswitch);
    const nsswitchConf = nsswitch === undefined ? undefined : join(this.#runDir, 'nsswitch.conf');
    if (nsswitchConf !== undefined && nsswitch !== undefined) writeFileSync(nsswitchConf, nsswitch, { mode: 0o644 });
    const command = workloadHolder(privilege, hubHolder(), { resolvConf, nsswitchConf });
    const holder = await startHolder(command, this.#context.environment, openLog(paths.logs, `${this.id}.namespace`));
    const identity = holder.pid === undefined ? undefined : identify(holder.pid);
    if (this.#stopped) {
      // Stopped while it was being made: `stop` has not seen it.
      if (identity !== undefined) await endHolder(holder, identity);
      throw new Error('stopped before it was ready');
    }
    this.#holder = holder;
    this.#holderIdentity = identity;
    holder.once('exit', () => this.#holderEnded());
    const attachment = {
      ...this.address,
      holder: holder.pid,
      capture: this.plan.meshed && this.plan.kind === 'application',
      captureOptions: this.plan.capture,
    };
    await untilAccepted(() => ask(paths.hubSocket, { op: 'attach', attachment }));
    this.#context.changed();
  }

  // Everything inside has lost its ground: end it and build anew.
  #holderEnded(): void {
    this.#holder = undefined;
    this.#holderIdentity = undefined;
    if (this.#stopped) return;
    this.#context.log(`${this.id}: its namespaces are gone, made anew`);
    this.#register();
    void this.#holdNamespaces().then(
      () => {
        for (const process of [this.#sidecar, this.#application]) if (process?.identity !== undefined) signal(process.identity, 'SIGKILL');
      },
      (error: unknown) => this.#context.log(`${this.id}: ${String(error)}`),
    );
  }

  #managedSidecar(): ManagedProcess {
    const { paths } = this.#context;
    const log = `${this.id}.proxy`;
    return new ManagedProcess({
      name: log,
      logs: paths.logs,
      handsOver: true,
      launch: () => this.#launchSidecar(join(paths.logs, `${log}.log`)),
      succeeded: ({ pid }) => {
        this.#context.changed();
        this.#context.log(`${this.id}: sidecar restarted without losing a connection (pid ${pid})`);
      },
      started: () => {
        this.#context.changed();
        void this.#awaitSidecar();
      },
      ended: (reason) => {
        this.#sidecarWatch++;
        this.#probeWatch++;
        this.#sidecarReady = false;
        this.#updateReady();
        this.#context.log(`${this.id}: sidecar ended (${reason}), starting it again`);
      },
    });
  }

  async #launchSidecar(logFile: string): Promise<Launch> {
    const { plan, name, address } = this;
    const { admin, privilege, environment } = this.#context;
    const token = await admin.mintToken({ namespace: plan.namespace, serviceAccount: plan.serviceAccount, name, address: address.address });
    const command = this.#context.sidecar({ plan, name, address, runDir: this.#runDir, logFile });
    return {
      command: [...enterAsRoot(privilege, this.#netns()), ...command],
      env: { ...environment, ...proxyEnvironment(plan) },
      inherited: unlinkedFile(join(this.#runDir, 'token'), token),
    };
  }

  async #awaitSidecar(): Promise<void> {
    const watch = ++this.#sidecarWatch;
    const target = {
      hubSocket: this.#context.paths.hubSocket,
      address: this.address.address,
      port: SIDECAR_READY_PORT,
      timeoutMs: 1_000,
      path: '/healthz/ready',
    };
    while (this.#sidecarWatch === watch && !(await probeHttp(target))) await pause(SIDECAR_POLL_MS);
    if (this.#sidecarWatch !== watch) return;
    this.#sidecarReady = true;
    await this.#startApplication();
    this.#updateReady();
  }

  /** The first time it starts the process, later only looks at its readiness again. */
  async #startApplication(): Promise<void> {
    if (this.#application === undefined || this.#stopped) return;
    if (this.#applicationStarted) {
      if (this.#application.running) void this.#watchApplication();
      return;
    }
    this.#applicationStarted = true;
    await this.#application.start();
  }

  #managedApplication(): ManagedProcess {
    const { paths, privilege, directory, environment } = this.#context;
    const { plan, name } = this;
    return new ManagedProcess({
      name: this.id,
      logs: paths.logs,
      launch: () => {
        const cwd = plan.workingDir === undefined ? directory : join(directory, plan.workingDir);
        const user = privilege.application;
        const home = user === undefined ? {} : { HOME: user.home, USER: user.name, LOGNAME: user.name };
        const command = [...enterAsApplication(privilege, this.#netns()), ...inDirectory(cwd, plan.command)];
        return Promise.resolve({ command, env: { ...environment, ...home, ...plan.env, INSTANCE: name } });
      },
      started: () => {
        this.#context.changed();
        if (this.#sidecar === undefined || this.#sidecarReady) void this.#watchApplication();
      },
      ended: (reason) => {
        this.#probeWatch++;
        this.#applicationReady = false;
        this.#updateReady();
        this.#context.log(`${this.id}: application ended (${reason}), starting it again`);
      },
    });
  }

  // Probes as Kubernetes does: ready with the first success, not ready after some failures in a row. Quick until the first success.
  async #watchApplication(): Promise<void> {
    const watch = ++this.#probeWatch;
    const readiness = this.plan.readiness;
    if (this.#application === undefined) return;
    if (readiness === undefined) {
      if (this.#application.running) this.#applicationReady = true;
      this.#updateReady();
      return;
    }
    let failures = 0;
    while (this.#probeWatch === watch && !this.#stopped) {
      const passed = await this.#probe(readiness);
      if (this.#probeWatch !== watch) return;
      failures = passed ? 0 : failures + 1;
      const ready = passed || (this.#applicationReady && failures < readiness.failures);
      if (ready !== this.#applicationReady) {
        this.#applicationReady = ready;
        this.#updateReady();
      }
      await pause(this.#applicationReady ? readiness.periodMs : Math.min(APPLICATION_POLL_MS, readiness.periodMs));
    }
  }

  async #probe({ probe, timeoutMs }: NonNullable<WorkloadPlan['readiness']>): Promise<boolean> {
    const target = { hubSocket: this.#context.paths.hubSocket, address: this.address.address, timeoutMs };
    switch (probe.kind) {
      case 'http':
        return await probeHttp({ ...target, port: probe.port, path: probe.path });
      case 'tcp':
        return await probeTcp({ ...target, port: probe.port, pid: this.#netns() });
      case 'exec': {
        const { directory, privilege, environment } = this.#context;
        return await runs(
          [...enterAsApplication(privilege, this.#netns()), ...inDirectory(directory, probe.command)],
          { ...environment, ...this.plan.env },
          timeoutMs,
        );
      }
    }
  }

  #netns(): number {
    const pid = this.#holderIdentity?.pid;
    if (pid === undefined) throw new Error('its namespaces are not there yet');
    return pid;
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts a process that holds namespaces and waits until it says so. `errors` is closed here. */
export const startHolder = (command: Command, env: Readonly<Record<string, string>>, errors: number): Promise<ChildProcess> => {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', errors], detached: true, env: { ...env } });
  closeSync(errors);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), HOLDER_READY_MS);
    const failed = (reason: string): void => {
      clearTimeout(timer);
      reject(new Error(`cannot make a namespace: ${reason}`));
    };
    child.once('error', (error) => failed(error.message));
    child.once('exit', (code) => failed(`"${program}" ended with ${code ?? 'a signal'}; see its log`));
    child.stdout?.once('data', () => {
      clearTimeout(timer);
      child.removeAllListeners('exit');
      child.stdout?.destroy();
      resolve(child);
    });
  });
};

/** With it go the namespaces and every link in them. */
export const endHolder = async (holder: ChildProcess, identity: ProcessIdentity): Promise<void> => {
  const gone = new Promise<void>((resolve) => holder.once('exit', () => resolve()));
  if (holder.exitCode === null && holder.signalCode === null && signal(identity, 'SIGKILL')) await gone;
};

// A descriptor with the secret and no name by which anyone else could open it.
const unlinkedFile = (path: string, content: string): number => {
  writeFileSync(path, content, { mode: 0o600 });
  const fd = openSync(path, 'r');
  rmSync(path);
  return fd;
};

const ATTACH_WITHIN_MS = 5_000;

// The hub's process may be restarting.
const untilAccepted = async (run: () => Promise<{ destroy(): void }>): Promise<void> => {
  const until = Date.now() + ATTACH_WITHIN_MS;
  for (;;) {
    try {
      (await run()).destroy();
      return;
    } catch (error) {
      if (Date.now() > until) throw error;
      await pause(100);
    }
  }
};

const runs = (command: Command, env: Readonly<Record<string, string>>, timeoutMs: number): Promise<boolean> =>
  new Promise((resolve) => {
    const [program = '', ...args] = command;
    const child = spawn(program, args, { stdio: 'ignore', env: { ...env } });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const done = (passed: boolean): void => {
      clearTimeout(timer);
      resolve(passed);
    };
    child.once('error', () => done(false));
    child.once('exit', (code) => done(code === 0));
  });
