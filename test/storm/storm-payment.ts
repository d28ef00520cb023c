// The payment service of a storm: what the shop's own does (`/version`, `/healthz`, `/broken`), and `GET /retries`: when the requests
// ran that a sidecar had sent before, as [from, to] in milliseconds since 1970. Asked once, they are forgotten.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

interface Broken {
  readonly status?: number;
  readonly delayMs?: number;
}

let broken: Broken = {};
let retries: (readonly [number, number])[] = [];
const identity = { service: 'payment-service', version: process.env['VERSION'] ?? '' };

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
};

const say = (response: ServerResponse, status: number, body: object): void => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
};

const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const began = Date.now();
  switch (`${request.method} ${request.url}`) {
    case 'GET /healthz':
      say(response, 200, { status: 'ok' });
      return;
    case 'PUT /broken':
      broken = JSON.parse(await bodyOf(request)) as Broken;
      say(response, 200, { broken });
      return;
    case 'DELETE /broken':
      broken = {};
      say(response, 200, { broken });
      return;
    case 'GET /retries':
      say(response, 200, retries);
      retries = [];
      return;
    default:
  }
  const { status = 200, delayMs = 0 } = broken;
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
  say(response, status, identity);
  if (Number(request.headers['x-envoy-attempt-count'] ?? 1) > 1) retries.push([began, Date.now()]);
};

createServer((request, response) => void answer(request, response)).listen(8080);
