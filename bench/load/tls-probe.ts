// A program: one TLS handshake with a client certificate; prints what was agreed as `protocol, cipher, curve`.
//   bun tls-probe.ts HOST PORT CERT KEY ALPN SNI
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';

const [host = '', port = '', cert = '', key = '', alpn = '', servername = ''] = process.argv.slice(2);
const identity = { cert: readFileSync(cert), key: readFileSync(key) };
const socket = connect({ host, port: Number(port), servername, ALPNProtocols: [alpn], rejectUnauthorized: false, ...identity });
socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')));
socket.once('error', (error) => {
  process.stdout.write(`no handshake: ${error.message}\n`);
  process.exit(1);
});
socket.once('secureConnect', () => {
  const curve = socket.getEphemeralKeyInfo();
  // The runtime offers a post-quantum hybrid first and has no name for it.
  const name = curve !== null && 'name' in curve && curve.name !== undefined ? curve.name : 'X25519MLKEM768';
  process.stdout.write(`${socket.getProtocol()}, ${socket.getCipher().standardName}, ${name}\n`);
  process.exit(0);
});
