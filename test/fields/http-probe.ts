// A client and a server for cases. Answers are plain data without what differs from run to run.
import { type Backend, httpBackend, RawClient } from '../proxy/harness.ts';

/** Whoever waits longer is told so. */
const ANSWER_MS = 1_500;

export interface Ask {
  readonly method?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly host?: string;
  readonly version?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly head: string;
  readonly body: string;
}

/** One request on a connection of its own. */
export const ask = async (port: number, path: string, more: Ask = {}): Promise<Answer> => {
  const client = await RawClient.open(port);
  const timer = setTimeout(() => client.close(), ANSWER_MS);
  const method = more.method ?? 'GET';
  const lines = [
    `${method} ${path} HTTP/${more.version ?? '1.1'}`,
    ...(more.host === '' ? [] : [`host: ${more.host ?? 'a.test'}`]),
    ...(more.body === undefined ? [] : [`content-length: ${more.body.length}`]),
    ...(more.headers ?? []),
  ];
  try {
    return await client.send(`${lines.join('\r\n')}\r\n\r\n${more.body ?? ''}`).response(method);
  } finally {
    clearTimeout(timer);
    client.close();
  }
};

/** Status and body of several requests, one after the other. */
export const bodies = async (port: number, asks: readonly (readonly [path: string, more?: Ask])[]): Promise<string[]> => {
  const out: string[] = [];
  for (const [path, more] of asks) {
    try {
      const answer = await ask(port, path, more);
      const text = answer.body || (answer.headers.get('grpc-message') ?? '');
      out.push(answer.status === 200 ? text : `${answer.status} ${text}`.trim());
    } catch (e) {
      out.push(e instanceof Error ? e.message : String(e));
    }
  }
  return out;
};

/** Headers of no interest: they differ from run to run, or every request has them. */
const COMMON = /^(x-request-id|x-envoy-expected-rq-timeout-ms|content-length|x-forwarded-proto|date|server|x-envoy-upstream-service-time)$/;

export const seenHeaders = (head: string): string[] =>
  head
    .split(/\r?\n/)
    .slice(1)
    .filter((line) => line !== '' && !COMMON.test(line.slice(0, line.indexOf(':')).toLowerCase()))
    .sort();

/** Answers with the request it got: its first line, then its headers. `x-answer: TEXT` is answered instead (`\n` becomes CRLF). */
export const echoServer = (): Promise<Backend> =>
  httpBackend((_, head) => {
    const wanted = /^x-answer: (.*)$/im.exec(head)?.[1];
    if (wanted !== undefined) return wanted.replaceAll('\\n', '\r\n');
    return `${head.split('\r\n')[0]}\n${seenHeaders(head).join('\n')}`;
  });
