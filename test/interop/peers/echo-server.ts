// Raw TCP: everything back as it came, half-close included.
import { createServer } from 'node:net';

createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined);
  socket.pipe(socket);
}).listen(Number(process.env['PORT'] ?? 9000), process.env['HOST'] ?? '0.0.0.0', () => console.log('listening'));
