// One hop of a call chain: asks NEXT, if there is one, and hands on what its caller sent of a trace, unless the path says not to.
// As a collector it keeps what it is sent and gives it back at /reports.
import { createServer, type IncomingMessage } from 'node:http';

const CONTEXT = [
  'x-request-id',
  'traceparent',
  'tracestate',
  'baggage',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
];
const reports: { readonly path: string; readonly body: string }[] = [];

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
};

const context = (request: IncomingMessage): Record<string, string> =>
  Object.fromEntries(CONTEXT.flatMap((name) => (typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : [])));

createServer((request, response) => {
  void (async () => {
    const body = await bodyOf(request);
    const path = request.url ?? '/';
    if (path === '/reports') {
      response.end(JSON.stringify(reports));
      return;
    }
    if (request.method === 'POST') reports.push({ path, body: body.toString('base64') });
    const next = process.env['NEXT'];
    if (next !== undefined && next !== '')
      await (await fetch(`${next}${path}`, { headers: path.includes('forgets') ? {} : context(request) })).text();
    response.end('ok');
  })();
}).listen(Number(process.env['PORT'] ?? 8080));
