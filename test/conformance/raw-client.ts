// One HTTP/1 request written by hand, so that odd requests go out as they are. Knows nothing of the scenarios.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly bind?: string | undefined;
  readonly tls?:
    | { readonly sni?: string; readonly alpn?: readonly string[]; readonly key?: string; readonly cert?: string; readonly max?: string }
    | undefined;
}
export interface RawResponse {
  readonly status: number | 'reset' | 'refused' | 'tls-error' | 'timeout' | 'client-timeout';
  /** Lower-case names; a repeated header is a list. */
  readonly headers: Headers;
  readonly body: string;
}
export type Headers = Record<string, string | string[]>;

const TIMEOUT_MS = 12_000;

/** A connection that carries one request at a time; `usable` is false once it may not carry another. */
export class Connection {
  readonly #target: Target;
  #socket: Socket | undefined;
  #pending = Buffer.alloc(0);
  #notify: (() => void) | undefined;
  #ended = false;
  #error: NodeJS.ErrnoException | undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  get usable(): boolean {
    return this.#socket !== undefined && !this.#ended && !this.#error;
  }

  async exchange(request: Buffer, method: string): Promise<RawResponse> {
    try {
      if (!this.#socket) await this.#open();
      this.#socket?.write(request);
      return await this.#read(method);
    } catch (e) {
      this.close();
      const error = e as NodeJS.ErrnoException;
      return { status: statusOf(error, this.#target.tls !== undefined), headers: {}, body: '' };
    }
  }

  close(): void {
    this.#socket?.destroy();
    this.#ended = true;
  }

  #open(): Promise<void> {
    const { host, port, bind, tls } = this.#target;
    const local = bind === undefined ? {} : { localAddress: bind };
    return new Promise((resolve, reject) => {
      const socket: Socket = tls
        ? connectTls({
            ...local,
            host,
            port,
            rejectUnauthorized: false,
            ALPNProtocols: [...(tls.alpn ?? [])],
            ...(tls.sni ? { servername: tls.sni } : {}),
            ...(tls.key ? { key: tls.key, cert: tls.cert } : {}),
            ...(tls.max ? { maxVersion: tls.max as 'TLSv1.2' } : {}),
          })
        : connectTcp({ ...local, host, port });
      this.#socket = socket;
      socket.setNoDelay(true);
      socket.setTimeout(TIMEOUT_MS, () => socket.destroy(Object.assign(new Error('timeout'), { code: 'CLIENT_TIMEOUT' })));
      socket.once(tls ? 'secureConnect' : 'connect', () => resolve());
      socket.on('data', (chunk: Buffer) => {
        this.#pending = Buffer.concat([this.#pending, chunk]);
        this.#notify?.();
      });
      socket.on('end', () => {
        this.#ended = true;
        this.#notify?.();
      });
      socket.on('error', (e) => {
        this.#error = e;
        reject(e);
        this.#notify?.();
      });
      socket.on('close', () => {
        this.#ended = true;
        reject(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
        this.#notify?.();
      });
    });
  }

  /** Resolves when there is more to look at; throws when there never will be. */
  async #more(): Promise<void> {
    if (this.#error) throw this.#error;
    if (this.#ended) throw Object.assign(new Error('closed early'), { code: 'ECONNRESET' });
    await new Promise<void>((resolve) => {
      this.#notify = resolve;
    });
  }

  async #read(method: string): Promise<RawResponse> {
    for (;;) {
      const end = this.#pending.indexOf('\r\n\r\n');
      if (end < 0) {
        await this.#more();
        continue;
      }
      const [first = '', ...fields] = this.#pending.toString('latin1', 0, end).split('\r\n');
      this.#pending = this.#pending.subarray(end + 4);
      const status = Number(first.split(' ')[1]);
      if (status >= 100 && status < 200 && status !== 101) continue;
      const headers: Headers = {};
      for (const field of fields) {
        const colon = field.indexOf(':');
        const name = field.slice(0, colon).toLowerCase();
        const value = field.slice(colon + 1).trim();
        const before = headers[name];
        headers[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value];
      }
      const body = await this.#body(method, status, headers);
      if (/\bclose\b/i.test(String(headers['connection'] ?? ''))) this.close();
      return { status, headers, body };
    }
  }

  async #body(method: string, status: number, headers: Headers): Promise<string> {
    if (method === 'HEAD' || status === 204 || status === 304) return '';
    if (/chunked/i.test(String(headers['transfer-encoding'] ?? ''))) return this.#chunked();
    if (headers['content-length'] !== undefined) return (await this.#take(Number(headers['content-length']))).toString('utf8');
    while (!this.#ended && !this.#error) await this.#more().catch(() => undefined);
    return this.#pending.toString('utf8');
  }

  async #take(size: number): Promise<Buffer> {
    while (this.#pending.length < size) await this.#more();
    const out = this.#pending.subarray(0, size);
    this.#pending = this.#pending.subarray(size);
    return out;
  }

  async #chunked(): Promise<string> {
    const parts: Buffer[] = [];
    for (;;) {
      let end = this.#pending.indexOf('\r\n');
      while (end < 0) {
        await this.#more();
        end = this.#pending.indexOf('\r\n');
      }
      const size = Number.parseInt(this.#pending.toString('latin1', 0, end), 16);
      this.#pending = this.#pending.subarray(end + 2);
      parts.push(await this.#take(size));
      await this.#take(2);
      if (size === 0) return Buffer.concat(parts).toString('utf8');
    }
  }
}

const statusOf = (error: NodeJS.ErrnoException, tls: boolean): RawResponse['status'] => {
  if (error.code === 'ECONNREFUSED') return 'refused';
  if (error.code === 'CLIENT_TIMEOUT') return 'client-timeout';
  if (error.code === 'ECONNRESET' || error.code === 'EPIPE' || error.message === 'socket hang up') return 'reset';
  return tls ? 'tls-error' : 'reset';
};

/** Sends raw bytes and reads until the peer closes: `ok` with what came, `closed` when nothing did, `timeout` when it stays open. */
export const tcpExchange = (target: Target, payload: string, waitMs: number): Promise<{ status: string; body: string }> =>
  new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let failed: string | undefined;
    const socket = connectTcp({
      host: target.host,
      port: target.port,
      ...(target.bind === undefined ? {} : { localAddress: target.bind }),
    });
    const finish = (status: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ status, body: Buffer.concat(chunks).toString('utf8') });
    };
    const timer = setTimeout(() => finish(chunks.length > 0 ? 'ok' : 'timeout'), waitMs);
    socket.on('connect', () => socket.write(payload));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', (e: NodeJS.ErrnoException) => {
      failed = e.code === 'ECONNREFUSED' ? 'refused' : e.code === 'ECONNRESET' ? 'closed' : (e.code ?? 'error');
    });
    socket.on('close', () => finish(chunks.length > 0 ? 'ok' : (failed ?? 'closed')));
  });
