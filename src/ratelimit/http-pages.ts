// The pages of a rate-limit server: /healthcheck, /metrics, /rlconfig, and /json, which answers a RateLimitRequest in JSON.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { MetricRegistry } from '../base/metrics.ts';
import { CodecError } from '../xds/codec.ts';
import { fromJson, toJson } from '../xds/json.ts';
import type { Domains } from './config-folder.ts';
import type { LimitNode } from './limit-tree.ts';
import { CountersProblem, type RateLimitService, RequestProblem } from './service.ts';

export interface Pages {
  readonly service: RateLimitService;
  readonly registry: MetricRegistry;
  readonly domains: () => Domains;
  readonly healthy: () => boolean;
}

const BODY_BYTES_MAX = 64 * 1024;
const REQUEST_TIMEOUT_MS = 5000;

export const servePages = (pages: Pages): Server => {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    serve(pages, request, response).catch((problem: unknown) => {
      say(response, 500, problem instanceof Error ? problem.message : String(problem));
    });
  });
  return server;
};

const serve = async (pages: Pages, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const path = (request.url ?? '/').split('?')[0];
  if (path === '/json' && request.method === 'POST') {
    await answerJson(pages.service, request, response);
    return;
  }
  if (request.method !== 'GET') say(response, 405, 'not allowed');
  else if (path === '/healthcheck') say(response, pages.healthy() ? 200 : 500, pages.healthy() ? 'OK' : 'Redis is not connected');
  else if (path === '/metrics') say(response, 200, pages.registry.render(), 'text/plain; version=0.0.4');
  else if (path === '/rlconfig') say(response, 200, configText(pages.domains()));
  else say(response, 404, 'pages: /healthcheck /metrics /rlconfig, and POST /json');
};

const answerJson = async (service: RateLimitService, request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const body = await readBody(request);
  if (body === undefined) {
    say(response, 413, `a request has at most ${BODY_BYTES_MAX} bytes`);
    return;
  }
  try {
    const answer = await service.decide(fromJson('envoy.service.ratelimit.v3.RateLimitRequest', JSON.parse(body)));
    const status = answer.overall_code === 'OVER_LIMIT' ? 429 : 200;
    say(response, status, `${JSON.stringify(toJson('envoy.service.ratelimit.v3.RateLimitResponse', answer))}\n`, 'application/json');
  } catch (problem) {
    const theirs = problem instanceof RequestProblem || problem instanceof CodecError || problem instanceof SyntaxError;
    if (!theirs && !(problem instanceof CountersProblem)) throw problem;
    say(response, theirs ? 400 : 503, (problem as Error).message);
  }
};

const readBody = async (request: IncomingMessage): Promise<string | undefined> => {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += (piece as Buffer).length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces).toString();
};

const say = (response: ServerResponse, status: number, text: string, type = 'text/plain'): void => {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': type });
  response.end(text.endsWith('\n') ? text : `${text}\n`);
};

/** One line a limit, as the reference implementation prints them. */
const configText = (domains: Domains): string => {
  const lines: string[] = [];
  const walk = (node: LimitNode): void => {
    const { limit } = node;
    if (limit !== undefined) {
      const rate = limit.unlimited ? 'unlimited' : `unit=${limit.unit.toUpperCase()} requests_per_unit=${limit.requests}`;
      lines.push(`${limit.path}: ${rate}, shadow_mode: ${limit.shadow}`);
    }
    for (const child of node.children.values()) walk(child);
  };
  for (const { root } of domains.values()) walk(root);
  return lines.join('\n');
};
