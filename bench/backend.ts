// The application behind the last hop: answers 1 kB to anything.
import { createServer } from 'node:http';

const body = Buffer.alloc(1024, 'x');
const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
  response.end(body);
});
server.keepAliveTimeout = 600_000;
server.listen(Number(process.env['PORT'] ?? 8080), process.env['HOST'] ?? '0.0.0.0');
process.on('SIGTERM', () => process.exit(0));
