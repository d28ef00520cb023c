// A program: opens mutual-TLS connections and leaves them idle. For each line `N` on standard input it opens N more and prints `open TOTAL`;
// at the end of the input it closes all and ends.
//   bun idle-client.ts HOST PORT CERT KEY ALPN SNI
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect, type TLSSocket } from 'node:tls';

const [host = '', port = '', cert = '', key = '', alpn = '', servername = ''] = process.argv.slice(2);
/** Handshakes at a time. */
const PARALLEL = 16;
const credentials = { cert: readFileSync(cert), key: readFileSync(key) };
const held: TLSSocket[] = [];

const openOne = (): Promise<void> =>
  new Promise((resolve, reject) => {
    // The server is the one we started: what matters here is that it has verified us.
    const socket = connect({ host, port: Number(port), servername, ALPNProtocols: [alpn], rejectUnauthorized: false, ...credentials });
    socket.once('secureConnect', () => {
      held.push(socket);
      resolve();
    });
    socket.once('error', reject);
    socket.once('close', () => fail('a connection was closed by the other side'));
  });

const fail = (why: string): void => {
  process.stderr.write(`${why}\n`);
  process.exit(1);
};

const open = async (count: number): Promise<void> => {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await openOne();
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
};

for await (const line of createInterface({ input: process.stdin })) {
  await open(Number(line)).catch((error: Error) => fail(error.message));
  process.stdout.write(`open ${held.length}\n`);
}
for (const socket of held) socket.removeAllListeners('close');
process.exit(0);
