// Two networks that do not reach each other, and one mesh: a router with a bridge for each, hosts in namespaces of their own that join
// with tokens as machines do, and a gateway for each network at an address that is routed from both.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ran, ROOT, run } from './mesh.ts';
import { eventually, expect } from './suite.ts';

const SKEIN = join(ROOT, 'bin/skein');
const PROXY_UID = '1337';
const READY_MS = 20_000;
const CONTROL = '10.1.0.1';
const XDS_PORT = 15012;

/** Addresses of a network begin with this; the router has the first one. */
const NETWORKS = { west: '10.1.0', east: '10.2.0' } as const;
export type Network = keyof typeof NETWORKS;
/** Where the other network calls in. */
export const ENTRANCES: Readonly<Record<Network, string>> = { west: '192.0.2.10', east: '192.0.2.20' };

export interface Place {
  readonly network: Network;
  readonly host: number;
}

const addressOf = ({ network, host }: Place): string => `${NETWORKS[network]}.${host}`;

/** Anything but 0 is a failure of the rig, not of what is tested. */
const must = (program: string, ...args: string[]): void => {
  const done = spawnSync(program, args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.stderr.trim()}`);
};

export class TwoNetworks {
  readonly #base = mkdtempSync(join(tmpdir(), 'skein-networks-'));
  readonly #children: ChildProcess[] = [];
  #router = 0;

  /** `configuration`: YAML of the mesh. */
  async start(configuration: string): Promise<void> {
    process.once('exit', this.#kill);
    mkdirSync(join(this.#base, 'mesh'));
    this.configure(configuration);
    this.#router = await this.#namespace();
    this.#inside(this.#router, ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
    for (const network of ['west', 'east'] as const) {
      this.#ip(this.#router, 'link', 'add', network, 'type', 'bridge');
      this.#ip(this.#router, 'addr', 'add', `${NETWORKS[network]}.1/16`, 'dev', network);
      this.#ip(this.#router, 'link', 'set', network, 'up');
      this.#ip(this.#router, 'route', 'add', ENTRANCES[network], 'via', `${NETWORKS[network]}.10`);
    }
    const [west, east] = ['10.1.0.0/16', '10.2.0.0/16'];
    this.#ip(this.#router, 'rule', 'add', 'from', west, 'to', east, 'unreachable');
    this.#ip(this.#router, 'rule', 'add', 'from', east, 'to', west, 'unreachable');
    const served = ['--xds', `tls:${CONTROL}:${XDS_PORT}`, '--xds', `tls:${NETWORKS.east}.1:${XDS_PORT}`];
    this.#start(this.#router, 'control', [SKEIN, 'control-plane', '--config', join(this.#base, 'mesh'), ...served]);
    await eventually('the control plane answers', READY_MS, async () =>
      (await this.#skein('token', 'list')).code === 0 ? true : undefined,
    );
  }

  /** In the place of what was there. */
  configure(configuration: string): void {
    const file = join(this.#base, 'mesh.yaml');
    writeFileSync(file, configuration);
    renameSync(file, join(this.#base, 'mesh/mesh.yaml'));
  }

  /** A host whose traffic is captured by a sidecar; ready when that is. `application`: a command. */
  async workload(name: string, account: string, place: Place, application?: readonly string[]): Promise<Host> {
    const pid = await this.#host(place);
    const [address, gate] = [addressOf(place), place.network];
    this.#inside(pid, [SKEIN, 'capture', 'apply', '--proxy-uid', PROXY_UID]);
    const server = application && this.#start(pid, `${name}-application`, application);
    const token = await this.#token(account);
    const labels = `app=${account},network=${gate},topology.istio.io/network=${gate}`;
    const flags = [
      '--name',
      name,
      '--service-account',
      account,
      '--ip',
      address,
      '--labels',
      labels,
      '--no-dns',
      ...this.#joins(name, token, gate),
    ];
    this.#start(pid, name, [...AS_PROXY, SKEIN, 'proxy', ...flags, ...(application ? ['--app-port', '8080'] : [])]);
    return new Host(pid, name, server);
  }

  /** `envoy`: run that program instead of Skein's proxy. */
  async gateway(network: Network, envoy?: string): Promise<Host> {
    const place: Place = { network, host: 10 };
    const pid = await this.#host(place);
    this.#ip(pid, 'addr', 'add', `${ENTRANCES[network]}/32`, 'dev', 'lo');
    const name = `gateway-${network}`;
    const token = await this.#token('gateway', 'istio-system');
    const metadata = JSON.stringify({ REQUESTED_NETWORK_VIEW: network });
    const labels = `istio=eastwestgateway,topology.istio.io/network=${network}`;
    const own = [
      '--name',
      name,
      '--namespace',
      'istio-system',
      '--service-account',
      'gateway',
      '--ip',
      addressOf(place),
      '--gateway',
      '--no-dns',
    ];
    const flags = [...own, '--labels', labels, '--metadata-json', metadata, ...this.#joins(name, token, network)];
    this.#start(
      pid,
      name,
      envoy === undefined ? [SKEIN, 'proxy', ...flags] : [SKEIN, 'agent', ...flags, '--', envoy, '--concurrency', '1'],
    );
    return new Host(pid, name);
  }

  #joins(name: string, token: string, network: Network): readonly string[] {
    const file = join(this.#base, `${name}.token`);
    writeFileSync(file, token);
    const xds = `${NETWORKS[network]}.1:${XDS_PORT}`;
    return ['--xds', xds, '--xds-ca', this.#roots(), '--token-file', file, '--run-dir', join(this.#base, name)];
  }

  #roots(): string {
    return join(this.#base, 'state/ca/root-cert.pem');
  }

  async #token(account: string, namespace = 'default'): Promise<string> {
    const made = await this.#skein('token', 'create', '--uses', '3', '--service-account', `${namespace}/${account}`, '-o', 'json');
    if (made.code !== 0) throw new Error(made.err);
    return (JSON.parse(made.out) as { readonly token: string }).token;
  }

  #skein(...args: string[]): Promise<Ran> {
    return run(SKEIN, args, { env: { SKEIN_STATE: join(this.#base, 'state') } });
  }

  /** A namespace on its network's bridge. */
  async #host(place: Place): Promise<number> {
    const pid = await this.#namespace();
    const link = `v${pid}`;
    this.#ip(this.#router, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
    this.#ip(this.#router, 'link', 'set', link, 'master', place.network);
    this.#ip(this.#router, 'link', 'set', link, 'up');
    this.#ip(pid, 'addr', 'add', `${addressOf(place)}/16`, 'dev', 'eth0');
    this.#ip(pid, 'link', 'set', 'eth0', 'up');
    this.#ip(pid, 'route', 'add', 'default', 'via', `${NETWORKS[place.network]}.1`);
    return pid;
  }

  /** Held by a process, whose id this is; it ends with its standard input, so with this program. */
  async #namespace(): Promise<number> {
    const child = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo up; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(child);
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`no network namespace: exit ${code}`)));
    });
    return child.pid ?? 0;
  }

  #start(pid: number, name: string, command: readonly string[]): ChildProcess {
    const env = { ...process.env, SKEIN_STATE: join(this.#base, 'state'), HOME: this.#base };
    const inside = inNamespace(pid, ['sh', '-c', `exec "$@" >${join(this.#base, `${name}.log`)} 2>&1`, 'sh', ...command]);
    // A group of its own: an agent that is killed leaves its Envoy.
    const child = spawn('nsenter', inside, { env, stdio: 'ignore', detached: true });
    this.#children.push(child);
    return child;
  }

  #inside(pid: number, command: readonly string[]): void {
    must('nsenter', ...inNamespace(pid, command));
  }

  #ip(pid: number, ...args: string[]): void {
    this.#inside(pid, ['ip', ...args]);
  }

  /** The end of what a process has said. */
  log(name: string): string {
    return readFileSync(join(this.#base, `${name}.log`), 'utf8').slice(-1500);
  }

  async ready(hosts: readonly Host[]): Promise<void> {
    for (const host of hosts) {
      await eventually(`${host.name} is ready`, READY_MS, async () => {
        const answer = await host.curl('-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:15021/healthz/ready');
        if (answer.out !== '200') throw new Error(`${answer.out}${answer.err} ${this.log(host.name)}`);
        return true;
      });
    }
  }

  readonly #kill = (): void => {
    for (const { pid, exitCode, signalCode } of this.#children) {
      if (pid === undefined || exitCode !== null || signalCode !== null) continue;
      for (const target of [-pid, pid]) {
        try {
          process.kill(target, 'SIGKILL');
        } catch {
          // It leads no group, or is gone.
        }
      }
    }
  };

  /** Everything of it is gone afterwards. */
  async stop(): Promise<void> {
    const gone = this.#children
      .filter((c) => c.exitCode === null && c.signalCode === null)
      .map((c) => new Promise((resolve) => c.once('exit', resolve)));
    this.#kill();
    process.off('exit', this.#kill);
    await Promise.all(gone);
    rmSync(this.#base, { recursive: true, force: true });
  }
}

const inNamespace = (pid: number, command: readonly string[]): string[] => ['--target', String(pid), '--net', '--', ...command];

const CAPABILITIES = '+dac_override,+net_bind_service';
const AS_PROXY = ['setpriv', '--reuid', PROXY_UID, '--inh-caps', CAPABILITIES, '--ambient-caps', CAPABILITIES];

export class Host {
  readonly name: string;
  readonly #pid: number;
  readonly #application: ChildProcess | undefined;

  constructor(pid: number, name: string, application?: ChildProcess) {
    this.#pid = pid;
    this.name = name;
    this.#application = application;
  }

  /** As its application would, through its sidecar. */
  curl(...args: string[]): Promise<Ran> {
    return this.run('curl', '-sS', '--max-time', '5', ...args);
  }

  /** Past its sidecar. */
  curlAsProxy(...args: string[]): Promise<Ran> {
    return this.run(...AS_PROXY, 'curl', '-sS', '--max-time', '5', ...args);
  }

  run(...command: string[]): Promise<Ran> {
    return run('nsenter', inNamespace(this.#pid, command));
  }

  /** Its application ends. */
  async end(): Promise<void> {
    const child = this.#application;
    expect(child !== undefined, `${this.name} has no application`);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}
