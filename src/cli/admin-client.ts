// Asks the control plane over its admin socket, one request a call. Failures are the two kinds a command tells apart: nobody
// answers, or the answer is a refusal.
import { request } from 'node:http';
import { join } from 'node:path';
import type { Problem } from '../api/problem.ts';
import { stateFolder } from '../local/state.ts';

/** Nothing listens on the admin socket. */
export class NoControlPlaneError extends Error {}

/** The control plane answered with an error. */
export class AdminCallError extends Error {
  readonly status: number;
  readonly code: string;
  readonly problems: readonly Problem[];
  constructor(status: number, code: string, message: string, problems: readonly Problem[]) {
    super(message);
    this.status = status;
    this.code = code;
    this.problems = problems;
  }
}

export interface AdminReply {
  readonly status: number;
  readonly text: string;
}

const TIMEOUT_MS = 30_000;

export class AdminClient {
  readonly #socket: string;
  readonly #state: string;

  /** `state` is the `--state` option; absent: SKEIN_STATE or the user's own. */
  constructor(state: string | undefined) {
    this.#state = stateFolder(state, process.env);
    this.#socket = join(this.#state, 'admin.sock');
  }

  /** The decoded JSON answer. Throws NoControlPlaneError and AdminCallError. */
  async json(method: string, path: string, body?: unknown): Promise<unknown> {
    const reply = await this.call(method, path, body);
    if (reply.status >= 300) throw refusal(reply);
    return JSON.parse(reply.text);
  }

  /** Any status. Throws NoControlPlaneError. */
  call(method: string, path: string, body?: unknown): Promise<AdminReply> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.#socket, method, path, headers, agent: false, timeout: TIMEOUT_MS }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }));
      });
      sent.on('timeout', () =>
        sent.destroy(new AdminCallError(504, 'TIMEOUT', `the control plane did not answer within ${TIMEOUT_MS / 1000} s`, [])),
      );
      sent.on('error', (error: NodeJS.ErrnoException) => reject(error instanceof AdminCallError ? error : this.#unreachable(error)));
      sent.end(text);
    });
  }

  /**
   * An answer in pieces: `piece` gets each as it comes. Resolves at its end, or when `signal` ends it. Throws as `json` does, and
   * AdminCallError when the answer is cut off.
   */
  stream(method: string, path: string, body: unknown, piece: (text: string) => void, signal?: AbortSignal): Promise<void> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return resolve();
      const sent = request({ socketPath: this.#socket, method, path, headers, agent: false }, (response) => {
        const status = response.statusCode ?? 0;
        const chunks: string[] = [];
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (status < 300 ? piece(chunk) : chunks.push(chunk)));
        response.on('error', () => undefined);
        response.on('close', () => {
          if (signal?.aborted === true) resolve();
          else if (status >= 300) reject(refusal({ status, text: chunks.join('') }));
          else if (response.complete) resolve();
          else reject(new AdminCallError(502, 'CUT', 'the answer was cut off: it has ended, or was restarted', []));
        });
      });
      signal?.addEventListener('abort', () => {
        sent.destroy();
        resolve();
      });
      sent.on('error', (error: NodeJS.ErrnoException) => (signal?.aborted === true ? resolve() : reject(this.#unreachable(error))));
      sent.end(text);
    });
  }

  #unreachable(error: NodeJS.ErrnoException): NoControlPlaneError {
    // Runtimes name a refused or missing socket differently; a forbidden one is worth telling apart.
    if (error.code === 'EACCES')
      return new NoControlPlaneError(`the admin socket ${this.#socket} belongs to another user: run as that user`);
    return new NoControlPlaneError(
      `no control plane is running with the state folder ${this.#state}: start one with \`skein up DIR\`, or name its folder with --state or SKEIN_STATE`,
    );
  }
}

const refusal = ({ status, text }: AdminReply): AdminCallError => {
  try {
    const { error } = JSON.parse(text) as {
      readonly error?: { readonly code?: string; readonly message?: string; readonly problems?: readonly Problem[] };
    };
    return new AdminCallError(status, error?.code ?? 'FAILED', error?.message ?? text, error?.problems ?? []);
  } catch {
    return new AdminCallError(status, 'FAILED', text.trim() || `the control plane answered ${status}`, []);
  }
};
