// The supervisor behind `skein up`: brings up hub, control plane and replicas in order, keeps them running, follows the folder, and takes
// everything down again in order. Every process is its child; it opens no connection of the mesh itself.

import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { AddressPool } from './addresses.ts';
import { AdminClient } from './admin-client.ts';
import { hostText, Ingress } from './ingress.ts';
import { type GatewayDocument, gatewaysOf, ingressPlan } from './ingress-plan.ts';
import { environmentFor, notesOf, sidecarCommand } from './launch-plan.ts';
import { openLog } from './log-file.ts';
import { ManagedProcess } from './managed-process.ts';
import { folderMark, type MeshFolder, type WorkloadPlan } from './mesh-folder.ts';
import { meshConfigFile } from './mesh-settings.ts';
import { type Command, enterAsRoot, hubHolder, type Privilege } from './namespaces.ts';
import { identify, type ProcessIdentity } from './process-identity.ts';
import { Registrar } from './registrar.ts';
import { ask } from './relay-protocol.ts';
import { endHolder, Replica, type ReplicaContext, type SidecarRequest, startHolder } from './replica.ts';
import { launched, relayCommand } from './runtime-paths.ts';
import { hubTable, type ServiceDocument, servicesOf } from './service-table.ts';
import { type RunProcess, type RunRecord, type StatePaths, writeRun } from './state.ts';

export interface SupervisorOptions {
  readonly paths: StatePaths;
  readonly directory: string;
  readonly privilege: Privilege;
  readonly proxy: 'skein' | 'envoy';
  readonly ingress: { readonly host: string; readonly port: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Given to the control plane as they are. */
  readonly controlPlaneFlags?: readonly string[];
  /** Sidecars tell the control plane what happens, unless this says no. */
  readonly summaries?: boolean;
  readMesh(): MeshFolder;
  /** The control plane's command line. Tests give their own. */
  controlPlane?(paths: StatePaths): Command;
  sidecar?(of: SidecarRequest): Command;
  progress(line: string): void;
}

const PARALLEL_STARTS = 4;
const CONTROL_PLANE_READY_MS = 15_000;
const RELAY_READY_MS = 10_000;
/** A start does not wait longer for one replica; the replica goes on trying. */
const REPLICA_READY_MS = 20_000;
/** After the last replica became ready: the control plane collects changes for a moment before it pushes them. */
const PUSH_QUIET_MS = 300;
const PUSHED_WITHIN_MS = 5_000;
const FOLDER_POLL_MS = 400;
const HEALTH_POLL_MS = 50;
const START_RETRY_MS = 2_000;
const WRITE_RUN_MS = 50;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #admin: AdminClient;
  readonly #registrar: Registrar;
  readonly #pool = new AddressPool();
  readonly #replicas = new Map<string, Replica>();
  readonly #context: ReplicaContext;
  readonly #environment: Readonly<Record<string, string>>;
  #hub: ChildProcess | undefined;
  #hubIdentity: ProcessIdentity | undefined;
  #relayHub: ManagedProcess | undefined;
  #relayHost: ManagedProcess | undefined;
  #controlPlane: ManagedProcess | undefined;
  readonly #ingress: Ingress;
  #services: readonly ServiceDocument[] = [];
  #gateways: readonly GatewayDocument[] = [];
  #state: RunRecord['state'] = 'starting';
  #writeTimer: NodeJS.Timeout | undefined;
  #tableTimer: NodeJS.Timeout | undefined;
  #folderTimer: NodeJS.Timeout | undefined;
  #folderMark = '';
  /** What the last look saw: only a folder that held still between two looks is acted on. */
  #folderSeen = '';
  #reconciling: Promise<void> = Promise.resolve();

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { paths, directory, privilege } = options;
    this.#admin = new AdminClient(paths.adminSocket);
    this.#registrar = new Registrar(this.#admin, () => this.#scheduleTable());
    this.#environment = environmentFor(options);
    this.#ingress = new Ingress(paths.hostSocket, {
      opened: (text) => this.#state === 'ready' && options.progress(`open: ${text}`),
      refused: (text) => options.progress(text),
      changed: () => this.#scheduleWrite(),
    });
    this.#context = {
      paths,
      directory,
      privilege,
      admin: this.#admin,
      registrar: this.#registrar,
      hubHolder: () => this.#hubIdentity?.pid ?? 0,
      environment: this.#environment,
      hostNsswitch: existsSync('/etc/nsswitch.conf') ? readFileSync('/etc/nsswitch.conf', 'utf8') : undefined,
      sidecar: options.sidecar ?? ((of) => sidecarCommand(of, options)),
      log: (message) => options.progress(message),
      changed: () => this.#scheduleWrite(),
    };
  }

  get replicas(): readonly Replica[] {
    return [...this.#replicas.values()];
  }

  get addresses(): RunRecord['addresses'] {
    return this.#ingress.addresses.map(({ rule: { listen, target }, scheme }) => ({
      url: `${scheme}://${hostText(listen.host)}:${listen.port}`,
      target: `${this.#nameAt(target.host)}:${target.port}`,
    }));
  }

  get notes(): readonly string[] {
    return notesOf(this.#options.privilege);
  }

  /** Replicas that are not ready now. */
  get notReady(): readonly string[] {
    return this.replicas.filter((r) => !r.ready).map((r) => r.id);
  }

  /** Resolves when every replica is ready, or has had its time; see `notReady`. */
  async start(workloads: readonly WorkloadPlan[]): Promise<void> {
    const { progress } = this.#options;
    this.#folderMark = folderMark(join(this.#options.directory, 'mesh'));
    if (workloads.some((w) => w.kind === 'gateway')) await requireFree(this.#options.ingress);
    this.#writeNow();
    progress('network: hub and relay');
    await this.#startHub();
    progress('control plane');
    await this.#startControlPlane();
    const wanted = workloads.flatMap((plan) => this.#namesOf(plan).map((name) => ({ plan, name })));
    progress(`workloads: ${wanted.length} replicas`);
    await inParallel(wanted, PARALLEL_STARTS, async ({ plan, name }) => {
      if (this.#state === 'stopping') return;
      const replica = this.#add(plan, name);
      await this.#startReplica(replica);
      progress(replica.ready ? `  ready ${replica.id} (${replica.address.address})` : `  not ready yet: ${replica.id}`);
    });
    await this.#readTables();
    await this.#updateIngress();
    if (
      this.replicas.some((r) => r.plan.kind === 'gateway') &&
      !this.#ingress.rules.some((r) => r.listen.port === this.#options.ingress.port)
    ) {
      const { host, port } = this.#options.ingress;
      throw new Error(`cannot listen on ${host}:${port}; choose another address with --ingress HOST:PORT`);
    }
    await this.#awaitPushes();
    this.#folderTimer = setInterval(() => this.#checkFolder(), FOLDER_POLL_MS);
  }

  /** Tells those who wait on run.json (`skein up -d`) that all has been said. */
  declareReady(): void {
    this.#state = 'ready';
    this.#writeNow();
  }

  /** In order: no new work from outside, applications and sidecars, control plane, network. Always resolves. */
  async stop(): Promise<void> {
    this.#state = 'stopping';
    this.#writeNow();
    clearInterval(this.#folderTimer);
    await this.#ingress.close();
    await Promise.all(this.replicas.map((r) => r.stop().catch(() => undefined)));
    await this.#registrar.settled(1_000);
    this.#registrar.close();
    await this.#controlPlane?.stop(3_000);
    await this.#relayHost?.stop(500);
    await this.#relayHub?.stop(500);
    if (this.#hub !== undefined && this.#hubIdentity !== undefined) await endHolder(this.#hub, this.#hubIdentity);
    clearTimeout(this.#writeTimer);
    clearTimeout(this.#tableTimer);
    for (const path of [this.#options.paths.adminSocket, this.#options.paths.xdsSocket]) rmSync(path, { force: true });
  }

  async #startHub(): Promise<void> {
    const { paths, privilege } = this.#options;
    const hub = await startHolder(hubHolder(privilege), this.#environment, openLog(paths.logs, 'hub'));
    this.#hub = hub;
    this.#hubIdentity = hub.pid === undefined ? undefined : identify(hub.pid);
    hub.once('exit', () => {
      if (this.#state !== 'stopping') this.#options.progress('the hub namespace ended: run `skein down` and `skein up` again');
    });
    this.#relayHub = this.#relay('relay-hub', () => [
      ...enterAsRoot(privilege, this.#hubIdentity?.pid ?? 0),
      ...relayCommand(),
      'hub',
      this.#relayOptions(),
    ]);
    await this.#relayHub.start();
    this.#relayHost = this.#relay('relay-host', () => [...relayCommand(), 'host', this.#relayOptions()]);
    await this.#relayHost.start();
    await this.#relayReady('relay-hub', () => ask(paths.hubSocket, { op: 'table', table: { names: {}, ports: [] } }));
    await this.#relayReady('relay-host', () => ask(paths.hostSocket, { op: 'ingress', rules: [] }));
  }

  #relay(name: string, command: () => Command): ManagedProcess {
    return new ManagedProcess({
      name,
      logs: this.#options.paths.logs,
      launch: () => Promise.resolve({ command: command(), env: this.#environment }),
      started: () => {
        this.#scheduleWrite();
        this.#scheduleTable();
      },
      ended: (reason) => this.#options.progress(`${name} ended (${reason}), starting it again`),
    });
  }

  #relayOptions(): string {
    const { hubSocket, hostSocket } = this.#options.paths;
    return JSON.stringify({ hubSocketPath: hubSocket, hostSocketPath: hostSocket, ingress: this.#ingress.rules });
  }

  async #relayReady(name: string, ask: () => Promise<{ destroy(): void }>): Promise<void> {
    const until = Date.now() + RELAY_READY_MS;
    for (;;) {
      try {
        (await ask()).destroy();
        return;
      } catch (error) {
        if (Date.now() > until)
          throw new Error(`${name} does not start (see ${join(this.#options.paths.logs, `${name}.log`)}): ${String(error)}`);
        await pause(HEALTH_POLL_MS);
      }
    }
  }

  async #startControlPlane(): Promise<void> {
    const { paths, directory } = this.#options;
    const command = this.#options.controlPlane?.(paths) ?? [
      ...launched('control-plane'),
      '--config',
      join(directory, 'mesh'),
      '--mesh-config',
      meshConfigFile(directory, paths),
      '--state',
      paths.root,
      '--xds',
      `unix:${paths.xdsSocket}`,
      ...(this.#options.controlPlaneFlags ?? []),
    ];
    this.#controlPlane = new ManagedProcess({
      name: 'control-plane',
      logs: paths.logs,
      launch: () => Promise.resolve({ command, env: this.#environment, cwd: directory }),
      started: () => {
        this.#scheduleWrite();
        void this.#greetControlPlane();
      },
      ended: (reason) => this.#options.progress(`control plane ended (${reason}), starting it again`),
    });
    await this.#controlPlane.start();
    const until = Date.now() + CONTROL_PLANE_READY_MS;
    while (!(await this.#admin.healthy())) {
      if (Date.now() > until) throw new Error(`the control plane does not start: see ${join(paths.logs, 'control-plane.log')}`);
      await pause(HEALTH_POLL_MS);
    }
  }

  // After each start: it hears about all replicas, forgets those of earlier runs, and tells us of changes.
  async #greetControlPlane(): Promise<void> {
    const process = this.#controlPlane?.identity;
    const current = (): boolean =>
      this.#controlPlane?.identity !== undefined && this.#controlPlane.identity.pid === process?.pid && this.#state !== 'stopping';
    while (current() && !(await this.#admin.healthy())) await pause(HEALTH_POLL_MS);
    if (!current()) return;
    const known = await this.#admin.get('/v1/instances').catch(() => ({ instances: [] }));
    const instances = (known as { readonly instances?: readonly { readonly namespace: string; readonly name: string }[] }).instances ?? [];
    this.#registrar.forgetTold(instances);
    while (current()) {
      await this.#readTables();
      await this.#admin.events((data) => {
        if (data.includes('"generation"')) void this.#readTables();
      });
      await pause(500);
    }
  }

  // "Ready" promises that the first call works: the last endpoints must have reached every proxy. Bounded, and never fails the start.
  async #awaitPushes(): Promise<void> {
    const until = Date.now() + PUSHED_WITHIN_MS;
    await this.#registrar.settled(PUSHED_WITHIN_MS);
    let quietSince = Date.now();
    while (Date.now() < until && Date.now() - quietSince < PUSH_QUIET_MS) {
      const proxies = await this.#admin.get('/v1/proxies').catch(() => []);
      if (!allPushed(proxies)) quietSince = Date.now();
      await pause(HEALTH_POLL_MS);
    }
  }

  async #readTables(): Promise<void> {
    try {
      this.#services = servicesOf(await this.#admin.get('/v1/resources?kind=Service'));
      this.#gateways = gatewaysOf(await this.#admin.get('/v1/resources?kind=Gateway'));
      this.#scheduleTable();
      if (this.#state === 'ready') await this.#updateIngress();
    } catch {
      // It is restarting: read again when it is back.
    }
  }

  #scheduleTable(): void {
    if (this.#tableTimer !== undefined) return;
    this.#tableTimer = setTimeout(() => {
      this.#tableTimer = undefined;
      const table = hubTable(this.#services, this.#registrar.instances);
      ask(this.#options.paths.hubSocket, { op: 'table', table }).then(
        (socket) => socket.destroy(),
        () => {
          if (this.#state !== 'stopping') setTimeout(() => this.#scheduleTable(), 200);
        },
      );
    }, 10);
  }

  #add(plan: WorkloadPlan, name: string): Replica {
    const replica = new Replica(plan, name, this.#pool.take(plan.meshed, plan.kind === 'application'), this.#context);
    this.#replicas.set(replica.id, replica);
    return replica;
  }

  async #startReplica(replica: Replica): Promise<void> {
    for (;;) {
      try {
        await withinTime(replica.start(), REPLICA_READY_MS);
        return;
      } catch (error) {
        this.#options.progress(`${replica.id}: ${error instanceof Error ? error.message : String(error)}`);
        await pause(START_RETRY_MS);
        if (this.#state === 'stopping' || this.#replicas.get(replica.id) !== replica) return;
      }
    }
  }

  #namesOf(plan: WorkloadPlan): string[] {
    return Array.from({ length: plan.replicas }, (_, i) => `${plan.name}-${i}`);
  }

  // Also after each change of Gateways.
  #updateIngress(): Promise<void> {
    const replicas = this.replicas
      .filter((r) => r.plan.kind === 'gateway' && r.name.endsWith('-0'))
      .map(({ plan, address: { address } }) => ({ ...plan, address }));
    return this.#ingress.set(ingressPlan(this.#options.ingress, replicas, this.#gateways, this.#services));
  }

  #nameAt(address: string): string {
    return this.replicas.find((r) => r.address.address === address)?.id ?? address;
  }

  #checkFolder(): void {
    const mark = folderMark(join(this.#options.directory, 'mesh'));
    const still = mark === this.#folderSeen;
    this.#folderSeen = mark;
    if (!still || mark === this.#folderMark) return;
    this.#folderMark = mark;
    let mesh: MeshFolder;
    try {
      mesh = this.#options.readMesh();
    } catch (error) {
      this.#options.progress(`mesh folder: ${String(error)}`);
      return;
    }
    if (mesh.problems.some((p) => p.severity === 'error')) return; // the control plane tells; what runs stays
    this.#reconciling = this.#reconciling
      .then(() => this.#reconcile(mesh.workloads))
      .catch((error: unknown) => this.#options.progress(String(error)));
  }

  async #reconcile(workloads: readonly WorkloadPlan[]): Promise<void> {
    if (this.#state === 'stopping') return;
    const wanted = new Map(
      workloads.flatMap((plan) => this.#namesOf(plan).map((name) => [`${name}.${plan.namespace}` as string, { plan, name }] as const)),
    );
    const same = (replica: Replica): boolean => {
      const plan = wanted.get(replica.id)?.plan;
      return plan !== undefined && JSON.stringify({ ...plan, replicas: 0 }) === JSON.stringify({ ...replica.plan, replicas: 0 });
    };
    const gone = this.replicas.filter((r) => !same(r));
    await inParallel(gone, PARALLEL_STARTS, async (replica) => {
      this.#options.progress(`stopping ${replica.id}`);
      this.#replicas.delete(replica.id);
      await replica.stop();
      this.#pool.free(replica.address);
    });
    const missing = [...wanted].filter(([id]) => !this.#replicas.has(id)).map(([, w]) => w);
    await inParallel(missing, PARALLEL_STARTS, async ({ plan, name }) => {
      if (this.#state === 'stopping') return;
      const replica = this.#add(plan, name);
      await this.#startReplica(replica);
      this.#options.progress(`${replica.ready ? 'ready' : 'not ready yet:'} ${replica.id} (${replica.address.address})`);
    });
    if (gone.length + missing.length > 0) await this.#updateIngress();
    this.#writeNow();
  }

  #scheduleWrite(): void {
    this.#writeTimer ??= setTimeout(() => {
      this.#writeTimer = undefined;
      this.#writeNow();
    }, WRITE_RUN_MS);
  }

  #writeNow(): void {
    const { paths, directory, proxy, privilege } = this.#options;
    const supervisor = identify(process.pid);
    if (supervisor === undefined) return;
    writeRun(paths, {
      version: 1,
      supervisor,
      directory,
      state: this.#state,
      proxy,
      privilege,
      notes: this.notes,
      addresses: this.addresses,
      notReady: this.#state === 'ready' ? this.notReady : [],
      processes: this.#processes(),
    });
  }

  #processes(): RunProcess[] {
    const hub =
      this.#hubIdentity === undefined ? [] : [{ name: 'hub', kind: 'hub' as const, ...this.#hubIdentity, netnsPid: this.#hubIdentity.pid }];
    const managed = (name: 'control-plane' | 'relay-hub' | 'relay-host', of: ManagedProcess | undefined): RunProcess[] =>
      of?.identity === undefined
        ? []
        : [{ name, kind: name, ...of.identity, ...(name === 'relay-hub' && this.#hubIdentity ? { netnsPid: this.#hubIdentity.pid } : {}) }];
    return [
      ...(this.#hub === undefined ? [] : hub),
      ...managed('relay-hub', this.#relayHub),
      ...managed('relay-host', this.#relayHost),
      ...managed('control-plane', this.#controlPlane),
      ...this.replicas.flatMap((r) => r.processes),
    ];
  }
}

const allPushed = (proxies: unknown): boolean =>
  !Array.isArray(proxies) ||
  (proxies as readonly { readonly types?: Readonly<Record<string, { readonly state?: string }>> }[]).every(({ types }) =>
    Object.values(types ?? {}).every(({ state }) => state !== 'STALE'),
  );

const withinTime = async (work: Promise<void>, ms: number): Promise<void> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
};

/** Said before anything is started rather than after. */
const requireFree = ({ host, port }: SupervisorOptions['ingress']): Promise<void> =>
  new Promise((resolve, reject) => {
    const trial = createServer();
    trial.once('error', (error) =>
      reject(new Error(`cannot listen on ${host}:${port} (${error.message}); choose another address with --ingress HOST:PORT`)),
    );
    trial.listen(port, host, () => trial.close(() => resolve()));
  });

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const inParallel = async <T>(items: readonly T[], limit: number, run: (item: T) => Promise<void>): Promise<void> => {
  const rest = [...items];
  const worker = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, rest.length) }, worker));
};
