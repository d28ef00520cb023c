// The applications behind the proxies: echo servers that request headers steer, as the recordings' README describes.
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { join } from 'node:path';
import type { Seen, Workload } from './scenario.ts';

export interface Hits {
  readonly counts: Record<string, number>;
  readonly last: Record<string, Seen>;
}

/** `nextStep(id)` numbers the attempts of one vector's request over all backends of the scenario. `anyAddress`: listen on every address of the host. */
export class Backends {
  readonly #certs: string;
  readonly #nextStep: (testId: string) => Promise<number>;
  readonly #anyAddress: boolean;
  #servers: (Server | TcpServer)[] = [];
  #counts: Record<string, number> = {};
  #last: Record<string, Seen> = {};

  constructor(certs: string, anyAddress: boolean, nextStep: (testId: string) => Promise<number>) {
    this.#certs = certs;
    this.#anyAddress = anyAddress;
    this.#nextStep = nextStep;
  }

  async start(workloads: readonly Workload[]): Promise<void> {
    for (const w of workloads) {
      if (w.listening === false) continue;
      const server = this.#serverFor(w);
      await new Promise<void>((resolve, reject) => {
        server.once('error', (e) => reject(new Error(`backend ${w.name} on ${w.address}:${w.port}: ${e.message}`)));
        server.listen(w.port, this.#anyAddress ? '0.0.0.0' : w.address, 1024, () => resolve());
      });
      this.#servers.push(server);
    }
  }

  async stop(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    for (const server of servers) {
      server.close();
      if ('closeAllConnections' in server) server.closeAllConnections();
    }
  }

  takeHits(): Hits {
    const hits = { counts: this.#counts, last: this.#last };
    this.#counts = {};
    this.#last = {};
    return hits;
  }

  #serverFor(w: Workload): Server | TcpServer {
    const protocol = w.protocol.toUpperCase();
    if (protocol === 'TCP') return this.#tcp(w);
    const listener: RequestListener = (request, response) => void this.#answer(w, request, response);
    if (protocol !== 'TLS' && protocol !== 'HTTPS') return createServer({ keepAliveTimeout: 60_000, insecureHTTPParser: true }, listener);
    const file = (name: string): string => readFileSync(join(this.#certs, name), 'utf8');
    return createTlsServer({ key: file('secure-key.pem'), cert: file('secure.pem') }, listener);
  }

  #tcp(w: Workload): TcpServer {
    return createTcpServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.once('data', (chunk) => {
        this.#counts[w.name] = (this.#counts[w.name] ?? 0) + 1;
        socket.end(`${w.name} ${chunk.length}`);
      });
    });
  }

  async #answer(w: Workload, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString('utf8');
    this.#counts[w.name] = (this.#counts[w.name] ?? 0) + 1;
    this.#last[w.name] = { method: request.method ?? '', path: request.url ?? '', headers: headersOf(request), body };
    const header = (name: string): string | undefined => {
      const value = request.headers[name];
      return Array.isArray(value) ? value.join(',') : value;
    };
    const steered = steers(header('x-echo-on'), w);
    let status = 200;
    if (steered) {
      if (header('x-echo-reset') !== undefined) return void request.socket.resetAndDestroy();
      const delay = Number(header('x-echo-delay') ?? 0);
      if (delay > 0) await pause(delay);
      const steps = header('x-echo-status')?.split(',') ?? [];
      if (steps.length > 0) {
        const step = steps[Math.min(steps.length === 1 ? 0 : await this.#nextStep(header('x-test-id') ?? ''), steps.length - 1)] ?? '200';
        if (step === 'reset') return void request.socket.resetAndDestroy();
        if (step.startsWith('slow')) await pause(Number(step.slice(4)));
        else status = Number(step);
      }
    }
    const text = status === 204 || status === 304 ? '' : JSON.stringify({ backend: w.name, method: request.method, path: request.url });
    response.setHeader('x-backend', w.name);
    response.setHeader('x-backend-header', 'from-backend');
    for (const pair of steered ? (header('x-echo-header')?.split(';') ?? []) : []) {
      const at = pair.indexOf('=');
      response.setHeader(pair.slice(0, at).trim(), pair.slice(at + 1));
    }
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
  }
}

const steers = (on: string | undefined, w: Workload): boolean =>
  on === undefined ||
  on.split(',').some((part) => part === w.name || part === w.name.split('/')[1] || part === w.name.split('/')[1]?.split(':')[0]);

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const headersOf = (request: IncomingMessage): Record<string, string | string[]> => {
  const out: Record<string, string | string[]> = {};
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = (request.rawHeaders[i] as string).toLowerCase();
    const value = request.rawHeaders[i + 1] as string;
    const before = out[name];
    if (before === undefined) out[name] = value;
    else out[name] = Array.isArray(before) ? [...before, value] : [before, value];
  }
  delete out['x-test-id'];
  return out;
};
