// A tap of a running proxy over its admin API, read line by line.
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { TapConnection } from '../../src/proxy/tap/tap-connection.ts';
import type { TapRecord } from '../../src/proxy/tap/tap-record.ts';

export interface Line {
  readonly tap?: { readonly open?: boolean; readonly shown?: number; readonly skipped?: number; readonly ended?: string };
  readonly request?: TapRecord & { readonly proxy: string };
  readonly connection?: TapConnection & { readonly proxy: string };
}

/** A tap with its lines; `next` waits for one that holds. */
export class TapReader {
  readonly status: number;
  readonly lines: Line[] = [];
  readonly #response: IncomingMessage;
  #rest = '';
  #wake: () => void = () => {};
  #ended = false;

  constructor(response: IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    response.on('data', (chunk: Buffer) => {
      const parts = (this.#rest + chunk.toString()).split('\n');
      this.#rest = parts.pop() ?? '';
      if (this.status === 200) this.lines.push(...parts.map((p) => JSON.parse(p) as Line));
      this.#wake();
    });
    response.on('error', () => undefined);
    response.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  async until(holds: (lines: readonly Line[]) => boolean): Promise<readonly Line[]> {
    const deadline = setTimeout(() => this.#response.destroy(), 20_000);
    while (!holds(this.lines)) {
      if (this.#ended) throw new Error(`ended with ${JSON.stringify(this.lines)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(deadline);
    return this.lines;
  }

  async end(): Promise<readonly Line[]> {
    return await this.until(() => this.#ended);
  }

  get requests(): readonly NonNullable<Line['request']>[] {
    return this.lines.flatMap((l) => (l.request === undefined ? [] : [l.request]));
  }

  get connections(): readonly NonNullable<Line['connection']>[] {
    return this.lines.flatMap((l) => (l.connection === undefined ? [] : [l.connection]));
  }

  leave(): void {
    this.#response.destroy();
  }
}

export const openTap = async (admin: string, body: object): Promise<TapReader> => {
  const [host, port] = admin.split(':');
  const sent = request({ host, port: Number(port), path: '/tap', method: 'POST', agent: false });
  sent.end(JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const reader = new TapReader(response);
  if (reader.status === 200) await reader.until((lines) => lines.length > 0);
  return reader;
};
