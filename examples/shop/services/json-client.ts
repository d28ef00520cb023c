// Calls another service of the shop by its plain name and expects JSON.
import { Agent, request as httpRequest } from 'node:http';
import type { Call } from './json-server.ts';

const agent = new Agent({ keepAlive: true, maxSockets: 64, timeout: 60_000 });
const TIMEOUT_MS = 10_000;

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** `url` such as http://payment-service:8080/api/v1/charge. Rejects when there is no answer at all. */
export const call = (from: Pick<Call, 'context'>, method: string, url: string, body?: unknown): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers: Record<string, string | number> = { ...from.context, accept: 'application/json' };
    if (payload !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(payload);
    }
    const request = httpRequest(url, { method, headers, agent, timeout: TIMEOUT_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, body: parse(text) });
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer from ${url} in ${TIMEOUT_MS} ms`)));
    request.on('error', reject);
    request.end(payload);
  });

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

/** The JSON of a good answer; an object with `error` when the service refused or is not there. */
export const ask = async (from: Pick<Call, 'context'>, method: string, url: string, body?: unknown): Promise<unknown> => {
  try {
    const answer = await call(from, method, url, body);
    return answer.status < 400 ? answer.body : { error: `${answer.status}`, detail: answer.body };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
};
