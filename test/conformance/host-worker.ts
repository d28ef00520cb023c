// One host of a scenario as a process of its own, so that it can live in a network namespace: runs backends and sends
// requests. Commands come as JSON lines on standard input, answers leave on standard output.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Backends } from './backends.ts';
import { Connection, type Headers, type RawResponse, type Target, tcpExchange } from './raw-client.ts';
import type { VectorRequest, Workload } from './scenario.ts';

export type WorkerCommand =
  | { readonly kind: 'backends'; readonly workloads: readonly Workload[] }
  | {
      readonly kind: 'request';
      readonly request: VectorRequest;
      readonly target: { readonly host: string; readonly port: number };
      readonly testId: string;
    }
  | { readonly kind: 'hits' }
  | { readonly kind: 'stop' };
export interface SentResult {
  readonly status: number | string;
  readonly headers: Headers;
  readonly body: string;
  readonly seconds: number;
  readonly varied?: string | undefined;
}

const TCP_WAIT_MS = 2_000;
const certs = process.argv[2] ?? '/certs';
/** Attempts are numbered over the backends of all hosts, so the run is asked. */
const asked = new Map<number, (step: number) => void>();
let nextAsk = 0;
const backends = new Backends(
  certs,
  process.argv[3] === 'any',
  (testId) =>
    new Promise((resolve) => {
      const ask = nextAsk++;
      asked.set(ask, resolve);
      process.stdout.write(`${JSON.stringify({ ask, testId })}\n`);
    }),
);

const requestBytes = (r: VectorRequest, testId: string, varied: string | undefined): Buffer => {
  const pairs: (readonly [string, string])[] = Array.isArray(r.headers) ? [...r.headers] : Object.entries(r.headers ?? {});
  const body = r.body ?? '';
  const lines = [`${r.method ?? 'GET'} ${r.path ?? '/'} HTTP/${r.version ?? '1.1'}`];
  if (r.host !== null) lines.push(`host: ${r.host ?? ''}`);
  for (const [name, value] of pairs) lines.push(`${name}: ${value}`);
  if (varied !== undefined) lines.push(`${r.varyHeader}: ${varied}`);
  if (body !== '') lines.push(`content-length: ${Buffer.byteLength(body)}`);
  lines.push(`x-test-id: ${testId}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'utf8');
};

const tlsOf = (r: VectorRequest): Target['tls'] => {
  if (!r.tls) return undefined;
  const { cert, max, ...plain } = r.tls;
  const rest = max === undefined ? plain : { ...plain, max: `TLSv${max}` };
  if (cert === undefined) return rest;
  return { ...rest, cert: readFileSync(join(certs, `${cert}.pem`), 'utf8'), key: readFileSync(join(certs, `${cert}-key.pem`), 'utf8') };
};

const send = async (r: VectorRequest, at: { readonly host: string; readonly port: number }, testId: string): Promise<SentResult[]> => {
  const target: Target = { ...at, bind: r.bind, tls: tlsOf(r) };
  const total = r.repeat ?? 1;
  const keepAlive = r.keepalive ?? total > 50;
  const results: SentResult[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    let connection: Connection | undefined;
    while (next < total) {
      const i = next++;
      const varied = r.varyHeader === undefined ? undefined : `v${i}`;
      const started = performance.now();
      if (r.tcp !== undefined) {
        const { status, body } = await tcpExchange(target, r.tcp, TCP_WAIT_MS);
        results[i] = { status, headers: {}, body, seconds: (performance.now() - started) / 1000 };
        continue;
      }
      if (!connection?.usable) connection = new Connection(target);
      const response: RawResponse = await connection.exchange(
        requestBytes(r, total > 1 ? `${testId}-${i}` : testId, varied),
        r.method ?? 'GET',
      );
      results[i] = { ...response, seconds: (performance.now() - started) / 1000, varied };
      if (!keepAlive) {
        connection.close();
        connection = undefined;
      }
    }
    connection?.close();
  };
  await Promise.all(Array.from({ length: Math.min(total, r.concurrency ?? 1) }, lane));
  return results;
};

const handle = async (command: WorkerCommand): Promise<unknown> => {
  switch (command.kind) {
    case 'backends':
      return backends.start(command.workloads);
    case 'request':
      return send(command.request, command.target, command.testId);
    case 'hits':
      return backends.takeHits();
    case 'stop':
      await backends.stop();
      process.exit(0);
  }
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line) as { id: number; command: WorkerCommand } | { ask: number; step: number };
  if ('ask' in message) {
    asked.get(message.ask)?.(message.step);
    asked.delete(message.ask);
    return;
  }
  const { id, command } = message;
  handle(command).then(
    (result) => process.stdout.write(`${JSON.stringify({ id, result: result ?? null })}\n`),
    (error: Error) => process.stdout.write(`${JSON.stringify({ id, error: error.message })}\n`),
  );
});
