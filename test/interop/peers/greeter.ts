// A server that speaks first, as MySQL does: a greeting with the connection, then everything back as it came.
import { createServer } from 'node:net';

export const GREETING = 'J\0\0\0\n8.0.36-interop\0\x08\0\0\0abcdefgh\0';

const isProgram = process.argv[1]?.endsWith('greeter.ts') === true;
if (isProgram) {
  const ports = (process.env['PORTS'] ?? '3306,3307').split(',').map(Number);
  for (const port of ports) {
    createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      socket.write(GREETING, 'latin1');
      socket.pipe(socket);
    }).listen(port, process.env['HOST'] ?? '0.0.0.0', () => console.log(`listening ${port}`));
  }
}
