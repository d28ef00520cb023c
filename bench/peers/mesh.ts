// A mesh as `skein up` runs it, with Skein's proxy or with Envoy in its place: interception, certificates over SDS, our xDS, JSON access log
// to the sidecars' log files, metrics, twelve services. The load starts inside the client's network.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryOf, withDescendants } from '../process-clock.ts';
import { mustRun, runCommand } from '../run-command.ts';
import type { Path } from '../scenarios.ts';
import { GRPC_PATH, grpcBackend, writeBackendFiles } from './backends.ts';
import { issue } from './certificates.ts';
import type { Contender, Hop, Route } from './contender.ts';
import { portOf } from './direct.ts';
import { logTail } from './log-tail.ts';
import { MANY_DESCRIPTORS } from './processes.ts';

const PORTS = { http: 8080, http2: 8081, grpc: 8082, tcp: 9000 };
const READY_MS = 120_000;
/** The target's moment. */
const READY_SAMPLE_MS = 5_000;

export interface MeshOptions {
  readonly name: string;
  readonly note: string;
  readonly skein: string;
  /** bench/mesh. */
  readonly source: string;
  /** A folder of this mesh's own. */
  readonly work: string;
  readonly results: string;
  readonly withGrpc: boolean;
  readonly ingressPort: number;
  /** Envoy's binary instead of Skein's proxy. */
  readonly envoy?: string;
}

interface RunRecord {
  readonly supervisor: { readonly pid: number };
  readonly processes: readonly { readonly kind: string; readonly pid: number; readonly workload?: string; readonly address?: string }[];
}

export class Mesh {
  readonly contender: Contender;
  /** The same network without a sidecar. */
  readonly direct: Contender;
  readonly #options: MeshOptions;
  readonly #state: string;
  #readyMb: Promise<number> | undefined;

  constructor(options: MeshOptions) {
    this.#options = options;
    this.#state = join(options.work, 'state');
    this.contender = {
      name: options.name,
      note: options.note,
      route: (path) => this.#route(path),
      refuses: (path, signal) => this.#passesUnread(path, signal),
      lastWords: () => this.#lastWords(),
      roots: () => this.#roots(),
    };
    this.direct = {
      name: 'direct-mesh',
      note: 'load generator and backend in the mesh’s network, both without a sidecar',
      route: (path) => this.#directRoute(path),
      roots: () => this.#roots(),
    };
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#prepare();
    const { envoy, ingressPort } = this.#options;
    const kind = envoy === undefined ? 'skein' : 'envoy';
    // Not cut short by an interrupt: what a half-done start has begun could not be found again.
    await this.#skein(['up', '-d', this.#directory, '--proxy', kind, '--ingress', `127.0.0.1:${ingressPort}`]);
    signal.throwIfAborted();
    this.#readyMb = new Promise((resolve) => setTimeout(resolve, READY_SAMPLE_MS)).then(() => this.residentMb());
    this.#readyMb.catch(() => undefined); // asked for later, if at all
    await this.#saveDumps(signal);
    this.#issueClientCertificate();
  }

  /** Resident MB of a sidecar, agent included, five seconds after everything was ready. */
  get readyMb(): Promise<number> | undefined {
    return this.#readyMb;
  }

  /** Resident MB of a sidecar, agent included, now. */
  residentMb(): number {
    const hops = [this.#sidecarOf('client'), this.#sidecarOf('backend')];
    return memoryOf(withDescendants(hops.flatMap((hop) => hop()))).rssKb / 1024 / hops.length;
  }

  /** Also after a start that did not succeed: ends whatever came up. */
  async stop(): Promise<void> {
    if (existsSync(this.#state)) await this.#skein(['down']);
  }

  get #directory(): string {
    return join(this.#options.work, 'mesh');
  }

  #prepare(): void {
    const directory = this.#directory;
    mkdirSync(directory, { recursive: true });
    cpSync(this.#options.source, join(directory, 'mesh'), { recursive: true });
    writeBackendFiles(directory, '0.0.0.0', PORTS);
    // The applications, of whatever user, write their pid and temporary files there.
    for (const folder of [directory, join(directory, 'temp')]) chmodSync(folder, 0o777);
    if (this.#options.withGrpc) {
      const command = grpcBackend(directory, '0.0.0.0', PORTS.grpc).map((word) => `'${word}'`);
      writeFileSync(join(directory, 'grpc.sh'), `exec ${command.join(' ')}\n`);
    } else rmSync(join(directory, 'mesh/grpc.yaml'));
  }

  async #skein(args: readonly string[], signal?: AbortSignal): Promise<string> {
    const { envoy, skein, work } = this.#options;
    const env = { SKEIN_STATE: this.#state, ...(envoy === undefined ? {} : { ENVOY: oneWorker(work, envoy) }) };
    return await mustRun([...MANY_DESCRIPTORS, skein, ...args], { env, timeoutMs: READY_MS, ...(signal === undefined ? {} : { signal }) });
  }

  #record(): RunRecord {
    return JSON.parse(readFileSync(join(this.#state, 'run.json'), 'utf8')) as RunRecord;
  }

  #roots(): readonly number[] {
    return [this.#record().supervisor.pid];
  }

  #lastWords(): string {
    const logs = ['client', 'backend'].map((workload) => join(this.#state, `logs/${workload}-0.bench.proxy.log`));
    return logs.map(logTail).filter(Boolean).join('\n');
  }

  #sidecarOf(workload: string): Hop {
    return () =>
      this.#record()
        .processes.filter((p) => p.kind === 'sidecar' && p.workload === workload)
        .map((p) => p.pid);
  }

  #addressOf(workload: string): string {
    const address = this.#record().processes.find((p) => p.workload === workload)?.address;
    if (address === undefined) throw new Error(`${this.#options.name}: ${workload} does not run`);
    return address;
  }

  #via(workload: string): readonly string[] {
    return ['env', `SKEIN_STATE=${this.#state}`, this.#options.skein, 'exec', workload, '--'];
  }

  async #saveDumps(signal: AbortSignal): Promise<void> {
    for (const workload of ['client', 'backend']) {
      const dump = await this.#skein(['proxy-config', 'all', workload, '-o', 'json'], signal);
      writeFileSync(join(this.#options.results, `config-dump-${this.#options.name}-${workload}.json`), dump);
    }
  }

  /** The idle connections come from a client of the mesh's CA without a sidecar: its end costs the measured process nothing. */
  #issueClientCertificate(): void {
    const ca = join(this.#state, 'ca');
    const { active } = JSON.parse(readFileSync(join(ca, 'authority.json'), 'utf8')) as { readonly active: string };
    const root = { cert: join(ca, `root-${active}.pem`), key: join(ca, `root-${active}-key.pem`) };
    issue(this.#options.work, root, 'spiffe://cluster.local/ns/bench/sa/client');
    for (const file of ['leaf.pem', 'leaf-key.pem']) chmodSync(join(this.#options.work, file), 0o644);
  }

  #route(path: Path): Route | string {
    const via = this.#via('client');
    const out = this.#sidecarOf('client');
    const into = this.#sidecarOf('backend');
    switch (path) {
      case 'one-hop':
        return { via, host: 'plain', port: PORTS.http, hops: [out] };
      case 'two-hops':
        return { via, host: 'backend', port: PORTS.http, hops: [out, into] };
      case 'two-hops-h2':
        return { via, host: 'backend', port: PORTS.http2, hops: [out, into] };
      case 'one-hop-grpc':
        return { via, host: 'grpc', port: PORTS.grpc, hops: [out] };
      case 'two-hops-tcp':
        return { via, host: 'backend', port: PORTS.tcp, hops: [out, into] };
      case 'inbound-tls':
        return {
          via: this.#via('plain-client'),
          host: this.#addressOf('backend'),
          port: PORTS.http,
          hops: [into],
          tls: {
            cert: join(this.#options.work, 'leaf.pem'),
            key: join(this.#options.work, 'leaf-key.pem'),
            alpn: 'istio-http/1.1',
            sni: 'outbound_.8080_._.backend.bench.svc.cluster.local',
          },
        };
    }
  }

  /** A sidecar that does not know a protocol passes its bytes on: that costs little and is not what is compared. */
  async #passesUnread(path: Path, signal: AbortSignal): Promise<string | undefined> {
    if (!path.includes('hop') || path === 'two-hops-tcp') return undefined;
    const route = this.#route(path);
    if (typeof route === 'string') return route;
    const http2 = path === 'two-hops-h2' || path === 'one-hop-grpc' ? ['--http2-prior-knowledge'] : [];
    const url = `http://${route.host}:${route.port}${path === 'one-hop-grpc' ? GRPC_PATH : '/'}`;
    const command = ['curl', '--silent', '--max-time', '5', ...http2, '--dump-header', '-', '--output', '/dev/null', url];
    const { stdout, status } = await runCommand([...route.via, ...command], { signal });
    if (!/^HTTP\S+ 200/.test(stdout)) return `a first request failed (curl: ${status}): ${stdout.split('\r')[0]}`;
    return /^x-envoy-upstream-service-time:/im.test(stdout)
      ? undefined
      : 'the sidecar passes this protocol on as bytes: nothing to compare';
  }

  #directRoute(path: Path): Route | string {
    const port = portOf(path, PORTS);
    if (port === undefined) return 'left out: there is no proxy to measure';
    return { via: this.#via('plain-client'), host: this.#addressOf(port === PORTS.grpc ? 'grpc' : 'plain'), port, hops: [] };
  }
}

/** As Istio, the agent gives Envoy two workers; everybody here has one. */
const oneWorker = (work: string, envoy: string): string => {
  const file = join(work, 'envoy-one-worker');
  const script = `#!/bin/sh
for word; do shift; [ "$before" = --concurrency ] && word=1; before=$word; set -- "$@" "$word"; done
exec '${envoy}' "$@"
`;
  writeFileSync(file, script, { mode: 0o755 });
  return file;
};
