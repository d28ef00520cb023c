// Starts the backends and every contender that takes part, and ends all of it again, also after a start that failed half-way.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BackendPorts, grpcBackend, nginxBackend, writeBackendFiles } from './peers/backends.ts';
import { makeCertificates } from './peers/certificates.ts';
import type { Contender } from './peers/contender.ts';
import { directOnHost } from './peers/direct.ts';
import { envoy, envoyFull } from './peers/envoy.ts';
import { haproxy } from './peers/haproxy.ts';
import { type Relay, startRelay } from './peers/host-relays.ts';
import { Mesh } from './peers/mesh.ts';
import { nginx } from './peers/nginx.ts';
import { freePorts, Processes, untilListening } from './peers/processes.ts';
import { skeinBare, skeinFull } from './peers/skein-relay.ts';
import { TelemetryPairs } from './telemetry/pairs.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
export const RESULTS = join(HERE, 'results');
const SKEIN = join(HERE, '../bin/skein');
const MESH_NOTES = {
  skein: 'as `skein up` runs it: interception, certificates over SDS, our xDS, JSON access log to a file, Istio’s metrics, twelve services',
  'envoy-mesh': 'Envoy in every sidecar’s place in the same mesh (`skein up --proxy envoy`), one worker; the agent counts',
} as const;

export const installed = (program: string): boolean =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) => existsSync(join(folder, program)));

export const missingText = (program: string): string => `${program} is not installed; sh test/setup`;

export class LineUp {
  readonly contenders: Contender[] = [];
  /** Contender → why it does not take part at all. */
  readonly absent = new Map<string, string>();
  readonly work = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  readonly #processes = new Processes();
  readonly #meshes = new Map<string, Mesh>();
  readonly #signal: AbortSignal;
  readonly #envoy: string | undefined;
  #backend: BackendPorts | undefined;

  constructor(envoyBinary: string | undefined, signal: AbortSignal) {
    this.#envoy = envoyBinary;
    this.#signal = signal;
    // Applications of the mesh may run as another user than ours.
    chmodSync(this.work, 0o755);
  }

  mesh(name: string): Mesh | undefined {
    return this.#meshes.get(name);
  }

  roots(): readonly number[] {
    return [...this.#meshes.values()].flatMap((mesh) => mesh.contender.roots());
  }

  /** A folder that generators inside a workload may write to, whatever their user. */
  get scratch(): string {
    return this.#folder('scratch', 0o777);
  }

  async start(wanted: (name: string) => boolean): Promise<void> {
    if (!installed('nginx')) throw new Error(`the backend: ${missingText('nginx')}`);
    if (!installed('openssl')) throw new Error(missingText('openssl'));
    const withGrpc = installed('nghttpd');
    await this.#startMeshes(wanted, withGrpc);
    const backend = await this.#startBackends(withGrpc);
    this.#backend = backend;
    if (wanted('direct')) this.contenders.push(directOnHost(backend));
    const certificates = this.#folder('certificates');
    makeCertificates(certificates, (file) => readFileSync(file, 'utf8'));
    for (const relay of this.#relays(wanted)) {
      this.#signal.throwIfAborted();
      const dir = this.#folder(relay.name);
      try {
        this.contenders.push(await startRelay(relay, { processes: this.#processes, dir, certificates, backend }));
      } catch (error) {
        this.absent.set(relay.name, (error as Error).message);
      }
    }
  }

  /** Not started, and ended by whoever starts it. After `start`. */
  telemetryPairs(): TelemetryPairs {
    if (this.#backend === undefined) throw new Error('there is no backend');
    const certificates = this.#folder('certificates');
    return new TelemetryPairs({ skein: SKEIN, certificates, backend: this.#backend, folder: (name) => this.#folder(name) });
  }

  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const mesh of this.#meshes.values()) await mesh.stop().catch((error: unknown) => failures.push(error));
    await this.#processes.stop();
    // What could not be ended is still described there.
    if (failures.length > 0) throw failures[0];
    rmSync(this.work, { recursive: true, force: true });
  }

  async #startMeshes(wanted: (name: string) => boolean, withGrpc: boolean): Promise<void> {
    for (const name of ['skein', 'envoy-mesh'] as const) {
      const needed = wanted(name) || (name === 'skein' && wanted('direct-mesh') && !wanted('envoy-mesh'));
      if (!needed) continue;
      const binary = name === 'envoy-mesh' ? this.#envoy : undefined;
      if (name === 'envoy-mesh' && binary === undefined) {
        this.absent.set(name, missingText('envoy'));
        continue;
      }
      const [ingressPort = 0] = await freePorts(1);
      const mesh = new Mesh({
        ...{ name, note: MESH_NOTES[name], skein: SKEIN, source: join(HERE, 'mesh'), work: this.#folder(name), results: RESULTS },
        ...{ withGrpc, ingressPort, ...(binary === undefined ? {} : { envoy: binary }) },
      });
      this.#meshes.set(name, mesh);
      await mesh.start(this.#signal);
      if (wanted('direct-mesh') && !this.contenders.some((c) => c.name === 'direct-mesh')) this.contenders.push(mesh.direct);
      if (wanted(name)) this.contenders.push(mesh.contender);
    }
  }

  async #startBackends(withGrpc: boolean): Promise<BackendPorts> {
    const dir = this.#folder('backend');
    const [http = 0, http2 = 0, grpc = 0, tcp = 0] = await freePorts(4);
    const ports = { http, http2, grpc, tcp };
    const log = join(dir, 'backend.log');
    writeBackendFiles(dir, '127.0.0.1', ports);
    this.#processes.start(nginxBackend(dir), log);
    if (withGrpc) this.#processes.start(grpcBackend(dir, '127.0.0.1', grpc), log);
    await untilListening('the backend', [http, http2, tcp, ...(withGrpc ? [grpc] : [])], log);
    return ports;
  }

  #relays(wanted: (name: string) => boolean): Relay[] {
    const all: readonly (readonly [string, string | undefined, () => Relay])[] = [
      ['skein-bare', undefined, () => skeinBare(SKEIN)],
      ['skein-full', undefined, () => skeinFull(SKEIN)],
      ['envoy', this.#envoy === undefined ? 'envoy' : undefined, () => envoy(this.#envoy ?? '')],
      ['envoy-full', this.#envoy === undefined ? 'envoy' : undefined, () => envoyFull(this.#envoy ?? '')],
      ['nginx', undefined, () => nginx],
      ['haproxy', installed('haproxy') ? undefined : 'haproxy', () => haproxy],
    ];
    const out: Relay[] = [];
    for (const [name, lacking, make] of all) {
      if (!wanted(name)) continue;
      if (lacking === undefined) out.push(make());
      else this.absent.set(name, missingText(lacking));
    }
    return out;
  }

  #folder(name: string, mode = 0o755): string {
    const dir = join(this.work, name);
    mkdirSync(dir, { recursive: true });
    chmodSync(dir, mode); // whatever the umask
    return dir;
  }
}
