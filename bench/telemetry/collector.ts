// A program: an OTLP collector over HTTP that behaves as it is told. `GET /spans` answers how many spans it has taken.
//   bun collector.ts PORT takes|refuses|silent|late
import { createServer } from 'node:http';
import { spansIn } from './otlp-count.ts';
import { type CollectorMode, MODES } from './rows.ts';

const LATE_MS = 5_000;
const [port = '', mode = ''] = process.argv.slice(2);
if (!MODES.includes(mode as CollectorMode)) throw new Error(`no such mode: ${mode}`);
let taken = 0;

createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(String(taken));
    return;
  }
  const pieces: Buffer[] = [];
  request.on('error', () => undefined);
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => {
    const answer = (): void => {
      taken += spansIn(Buffer.concat(pieces));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    };
    if (mode === 'refuses') response.writeHead(503).end();
    else if (mode === 'takes') answer();
    else if (mode === 'late') setTimeout(answer, LATE_MS);
  });
}).listen(Number(port), '127.0.0.1');
