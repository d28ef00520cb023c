// Clients and their backend in a process of their own, for tests of what connections leave behind in the proxy. Prints the backend's
// port, then reads lines `KIND PORT COUNT` and prints `done` when so many connections of the kind have come and gone.

import { createServer as createHttp } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { connect as connectTls } from 'node:tls';

const AT_ONCE = 25;
const GIVE_UP_MS = 5000;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** :method GET, :scheme http, :path /, :authority a; END_HEADERS, and END_STREAM when `ended`. */
const head = (stream: number, ended: boolean): Buffer =>
  Buffer.from([0, 0, 6, 1, ended ? 5 : 4, 0, 0, 0, stream, 0x82, 0x86, 0x84, 0x41, 1, 0x61]);
const reset = (stream: number): Buffer => Buffer.from([0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 8]);
const HUGE = `GET / HTTP/1.1\r\nhost: a\r\nx-huge: ${'h'.repeat(100_000)}\r\n\r\n`;
const UPGRADE =
  'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGVzdHRlc3R0ZXN0dGVzdA==\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n';

type Act = (socket: Socket, round: number) => void;

/** Ends the connection once `text` has come. */
const endAfter = (socket: Socket, text: string, end: (socket: Socket) => void): void => {
  let seen = '';
  socket.on('data', (bytes: Buffer) => {
    seen += bytes.toString('latin1');
    if (seen.includes(text)) end(socket);
  });
};

const close = (socket: Socket): void => {
  socket.end();
};

const KINDS: Readonly<Record<string, Act>> = {
  plain: (socket) => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'),
  kept: (socket) => {
    endAfter(socket, 'xyz', close);
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  },
  tls: (socket) => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'),
  http2: (socket) => {
    endAfter(socket, 'xyz', close);
    socket.write(Buffer.concat([PREFACE, SETTINGS, head(1, true)]));
  },
  /** Leaves when it is asked to, as a listener's change asks. */
  asked: (socket) => {
    const goaway = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0]);
    let seen: Buffer = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes]);
      if (seen.includes(goaway)) socket.end();
    });
    socket.write(Buffer.concat([PREFACE, SETTINGS, head(1, true)]));
  },
  websocket: (socket) => {
    endAfter(socket, 'ping', close);
    socket.once('data', () => socket.write('ping'));
    socket.write(UPGRADE);
  },
  aborted: (socket) => {
    socket.write(`${POST}abc`);
    setTimeout(() => socket.resetAndDestroy(), 5);
  },
  hostile: (socket, round) => {
    setTimeout(() => socket.resetAndDestroy(), 20);
    if (round % 5 === 0) socket.write(HUGE);
    else if (round % 5 === 1) socket.write(Buffer.from('\x00\x01garbage\r\n\r\n'));
    else if (round % 5 === 2) socket.write(Buffer.concat([PREFACE, SETTINGS, head(1, false), reset(1), head(3, false), reset(3)]));
    else if (round % 5 === 3) socket.write(Buffer.concat([PREFACE, SETTINGS, Buffer.from([0, 0, 4, 8, 0, 0, 0, 0, 7, 0, 0, 0, 1])]));
  },
};

const one = (kind: string, port: number, round: number): Promise<void> =>
  new Promise((resolve) => {
    const act = KINDS[kind] ?? close;
    const secure = kind === 'tls';
    const socket = secure ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }) : connect({ port, host: '127.0.0.1' });
    const timer = setTimeout(() => socket.destroy(), GIVE_UP_MS);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      socket.resume();
      act(socket, round);
    });
  });

const churn = async (kind: string, port: number, count: number): Promise<void> => {
  let left = count;
  const chain = async (): Promise<void> => {
    while (left > 0) await one(kind, port, left--);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, chain));
};

const backend = createHttp((request, response) => {
  request.resume();
  response.end('xyz');
});
backend.on('upgrade', (_request, socket: Socket) => {
  socket.on('error', () => undefined);
  socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  socket.pipe(socket);
});
backend.listen(0, '127.0.0.1', () => console.log((backend.address() as AddressInfo).port));

createInterface({ input: process.stdin }).on('line', (line) => {
  const [kind = '', port, count] = line.split(' ');
  churn(kind, Number(port), Number(count)).then(() => console.log('done'));
});
process.stdin.on('end', () => process.exit(0));
