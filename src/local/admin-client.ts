// The control plane's admin API over its Unix socket, as far as the supervisor needs it. Each call is one request; none is repeated here.

import { request } from 'node:http';

export interface InstanceDocument {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly ready: boolean;
  readonly meshed: boolean;
}

const TIMEOUT_MS = 5_000;

export class AdminClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async healthy(): Promise<boolean> {
    try {
      return (await this.#call('GET', '/healthz')).status === 200;
    } catch {
      return false;
    }
  }

  async putInstance(instance: InstanceDocument): Promise<void> {
    const { namespace, name, ...body } = instance;
    await this.#expect('PUT', instancePath(namespace, name), body);
  }

  async deleteInstance(namespace: string, name: string): Promise<void> {
    const { status, body } = await this.#call('DELETE', instancePath(namespace, name));
    if (status >= 300 && status !== 404) throw new Error(`DELETE ${instancePath(namespace, name)}: ${status} ${body}`);
  }

  async mintToken(of: {
    readonly namespace: string;
    readonly serviceAccount: string;
    readonly name: string;
    readonly address: string;
  }): Promise<string> {
    const { token } = (await this.#expect('POST', '/v1/tokens', of)) as { readonly token?: unknown };
    if (typeof token !== 'string') throw new Error('the control plane answered without a token');
    return token;
  }

  async get(path: string): Promise<unknown> {
    return await this.#expect('GET', path);
  }

  /** Calls `changed` for each server-sent event until the stream ends. */
  events(changed: (data: string) => void): Promise<void> {
    return new Promise((resolve) => {
      const req = request({ socketPath: this.#socketPath, path: '/v1/events', headers: { accept: 'text/event-stream' } }, (res) => {
        let held = '';
        res.setEncoding('utf8');
        res.on('data', (chunk: string) => {
          held += chunk;
          const lines = held.split('\n');
          held = lines.pop() ?? '';
          for (const line of lines) if (line.startsWith('data:')) changed(line.slice(5).trim());
        });
        res.on('close', resolve);
        res.on('error', () => resolve());
      });
      req.on('error', () => resolve());
      req.end();
    });
  }

  async #expect(method: string, path: string, body?: unknown): Promise<unknown> {
    const reply = await this.#call(method, path, body);
    if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.body}`);
    return reply.body === '' ? undefined : JSON.parse(reply.body);
  }

  #call(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: string }> {
    const text = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
      const req = request({ socketPath: this.#socketPath, method, path, headers, agent: false, timeout: TIMEOUT_MS }, (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('error', reject);
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }));
      });
      req.on('timeout', () => req.destroy(new Error(`no answer from ${this.#socketPath}`)));
      req.on('error', reject);
      req.end(text);
    });
  }
}

const instancePath = (namespace: string, name: string): string =>
  `/v1/instances/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
