// A running control plane on a temporary folder, an xDS client that records every response and answers when told, and the
// admin API over its socket. Everything is awaited by condition, within a bound.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject } from '@grpc/grpc-js';
import { createLog } from '../../src/base/log.ts';
import { type ControlPlane, type ControlPlaneConfig, startControlPlane } from '../../src/control/control-plane.ts';
import { CREATE_CERTIFICATE_METHOD } from '../../src/control/xds/server.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import type { DiscoveryRequest, DiscoveryResponse } from '../../src/xds/gen/types.ts';
import { ADS_METHOD, RESOURCE_TYPES, type ResourceShortName, resourceType } from '../../src/xds/resource-types.ts';
import { fakePipeline } from './fake-pipeline.ts';

const PATIENCE_MS = 20_000;

export const eventually = async <T>(what: string | (() => string), read: () => T | undefined | false): Promise<T> => {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = read();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > until) throw new Error(`did not happen within ${PATIENCE_MS} ms: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

export interface Rig {
  readonly root: string;
  readonly config: string;
  readonly state: string;
  readonly controlPlane: ControlPlane;
  readonly log: string[];
  save(file: string, text: string): void;
  admin(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: unknown }>;
  token(name: string, extra?: Record<string, string>): Promise<string>;
  close(): Promise<void>;
}

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'skein-control-'));

/** Written beside and moved into place, as editors do. */
export const saveAtomically = (path: string, text: string): void => {
  writeFileSync(`${path}.part`, text);
  renameSync(`${path}.part`, path);
};

export const startRig = async (
  files: Record<string, string>,
  overrides: Partial<ControlPlaneConfig> = {},
  root: string = temporaryFolder(),
): Promise<Rig> => {
  const config = join(root, 'mesh');
  const state = join(root, 'state');
  mkdirSync(config, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(config, name), text);
  const log: string[] = [];
  const controlPlane = await startControlPlane({
    folders: [config],
    meshConfigFile: undefined,
    stateDir: state,
    xds: [`unix:${join(root, 'x.sock')}`],
    insecure: false,
    adminSocket: undefined,
    caDir: undefined,
    version: '0.0.0',
    debounce: { quietMs: 10, maxMs: 100 },
    pipeline: fakePipeline(),
    log: createLog(
      'test',
      (line) => log.push(line),
      () => new Date(),
    ),
    now: Date.now,
    ...overrides,
  });
  const admin: Rig['admin'] = (method, path, body) => adminCall(controlPlane.adminSocket, method, path, body);
  return {
    root,
    config,
    state,
    controlPlane,
    log,
    save: (file, text) => saveAtomically(join(config, file), text),
    admin,
    token: async (name, extra = {}) => {
      const reply = await admin('POST', '/v1/tokens', { namespace: 'default', serviceAccount: 'default', name, ...extra });
      assert.equal(reply.status, 201);
      return (reply.body as { token: string }).token;
    },
    close: async () => {
      await controlPlane.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
};

export const adminCall = (socketPath: string, method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> =>
  new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (c: Buffer) => chunks.push(c));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const json = response.headers['content-type']?.includes('json');
        resolve({ status: response.statusCode ?? 0, body: json ? JSON.parse(text) : text });
      });
    });
    sent.on('error', reject);
    sent.end(body === undefined ? '' : JSON.stringify(body));
  });

const raw = (bytes: Buffer): Buffer => bytes;

const withToken = (token: string | undefined): Metadata => {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};

/** One recorded response. */
export interface Received {
  readonly type: ResourceShortName;
  readonly version: string;
  readonly nonce: string;
  readonly names: readonly string[];
  readonly response: DiscoveryResponse;
}

const nameOf = (resource: object): string => {
  const { name, cluster_name } = resource as { readonly name?: string; readonly cluster_name?: string };
  return name ?? cluster_name ?? '';
};

export class XdsClient {
  readonly received: Received[] = [];
  status: StatusObject | undefined;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  #first = true;
  readonly #node: string;
  readonly #agent: string;

  constructor(
    address: string,
    options: { readonly node?: string; readonly token?: string; readonly method?: string; readonly agent?: string } = {},
  ) {
    this.#node = options.node ?? 'sidecar~10.0.0.1~a.default~default.svc.cluster.local';
    this.#agent = options.agent ?? 'envoy';
    this.#client = new Client(address, credentials.createInsecure());
    this.#call = this.#client.makeBidiStreamRequest(options.method ?? ADS_METHOD, raw, raw, withToken(options.token));
    this.#call.on('data', (bytes: Buffer) => {
      const response = decode('envoy.service.discovery.v3.DiscoveryResponse', bytes);
      const type = resourceType(response.type_url ?? '')?.shortName ?? 'CDS';
      const names = (response.resources ?? []).map(nameOf);
      this.received.push({ type, version: response.version_info ?? '', nonce: response.nonce ?? '', names, response });
    });
    this.#call.on('status', (status: StatusObject) => {
      this.status = status;
    });
    this.#call.on('error', () => undefined);
  }

  send(request: DiscoveryRequest): void {
    const node = this.#first ? { node: { id: this.#node, user_agent_name: this.#agent } } : {};
    this.#first = false;
    this.#call.write(Buffer.from(encode('envoy.service.discovery.v3.DiscoveryRequest', { ...node, ...request })));
  }

  subscribe(type: ResourceShortName, names: readonly string[] = []): void {
    this.send({ type_url: urlOf(type), resource_names: names });
  }

  ack(r: Received, names: readonly string[] = [], problem?: string): void {
    const answer = { type_url: urlOf(r.type), response_nonce: r.nonce, resource_names: names, version_info: r.version };
    this.send(problem === undefined ? answer : { ...answer, error_detail: { code: 3, message: problem } });
  }

  of(type: ResourceShortName): readonly Received[] {
    return this.received.filter((r) => r.type === type);
  }

  /** The nth response of a type, from 1. */
  next(type: ResourceShortName, n: number): Promise<Received> {
    return eventually(
      () => `response ${n} of ${type}; got ${this.received.map((r) => `${r.type}[${r.names}]`).join(' ')} ${this.status?.details ?? ''}`,
      () => this.of(type)[n - 1],
    );
  }

  /** Subscribes to everything as Envoy does and acknowledges: returns when all is in. */
  async follow(endpoints: readonly string[], routes: readonly string[]): Promise<void> {
    for (const [type, names] of [
      ['CDS', []],
      ['EDS', endpoints],
      ['LDS', []],
      ['RDS', routes],
    ] as const) {
      this.subscribe(type, names);
      this.ack(await this.next(type, this.of(type).length + 1), names);
    }
  }

  close(): void {
    this.#call.cancel();
    this.#client.close();
  }
}

export const urlOf = (type: ResourceShortName): string => RESOURCE_TYPES.find((t) => t.shortName === type)?.url ?? '';

export const createCertificate = (address: string, token: string | undefined, csr: string): Promise<readonly string[]> => {
  const client = new Client(address, credentials.createInsecure());
  const body = Buffer.from(encode('istio.v1.auth.IstioCertificateRequest', { csr, validity_duration: 3600 }));
  return new Promise<readonly string[]>((resolve, reject) => {
    client.makeUnaryRequest(CREATE_CERTIFICATE_METHOD, raw, raw, body, withToken(token), (error, reply) => {
      if (error || !reply) reject(error ?? new Error('no reply'));
      else resolve(decode('istio.v1.auth.IstioCertificateResponse', reply).cert_chain ?? []);
    });
  }).finally(() => client.close());
};
