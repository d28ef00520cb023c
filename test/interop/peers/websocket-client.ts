// node websocket-client.ts h1|h2 HOST PORT: echoes of every frame size, a ping, a clean close. Prints what was seen, exits 1 with the reason.
import { randomBytes } from 'node:crypto';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { patternBytes } from './pattern.ts';
import { acceptKey, BINARY, CLOSE, encodeFrame, FrameReader, PING, PONG, TEXT } from './websocket.ts';

const SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_003];
const WITHIN_MS = 20_000;

/** Sends a WebSocket upgrade and gives the connection with what came behind the answer. */
export const upgrade = async (host: string, port: number): Promise<{ socket: Socket; rest: Buffer }> => {
  const key = randomBytes(16).toString('base64');
  const socket = connect({ host, port, noDelay: true });
  socket.write(
    `GET /ws HTTP/1.1\r\nhost: ${host}:${port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`,
  );
  let seen = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    const onData = (bytes: Buffer): void => {
      seen = Buffer.concat([seen, bytes]);
      const end = seen.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', onData);
      const head = seen.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 101 ')) reject(new Error(`no upgrade: ${head}`));
      else if (!head.toLowerCase().includes(`sec-websocket-accept: ${acceptKey(key).toLowerCase()}`))
        reject(new Error(`wrong key: ${head}`));
      else resolve({ socket, rest: seen.subarray(end + 4) });
    };
    socket.on('data', onData);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed before the answer: ${seen.toString('latin1')}`)));
  });
};

/** RFC 8441: an extended CONNECT on an HTTP/2 connection with prior knowledge. */
const upgradeHttp2 = async (host: string, port: number): Promise<Duplex> => {
  const session = connectHttp2(`http://${host}:${port}`);
  await new Promise<void>((resolve, reject) => {
    session.on('error', reject);
    session.once('remoteSettings', (settings) =>
      settings.enableConnectProtocol === true ? resolve() : reject(new Error('the peer’s SETTINGS do not allow extended CONNECT')),
    );
  });
  const stream = session.request({
    ...{ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', 'sec-websocket-version': '13' },
    'sec-websocket-key': randomBytes(16).toString('base64'), // for a server behind a proxy that speaks HTTP/1.1 to it
  });
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject);
    stream.once('response', (h) => (h[':status'] === 200 ? resolve() : reject(new Error(`status ${h[':status']}`))));
  });
  stream.on('close', () => session.close());
  return stream;
};

const converse = async (stream: Duplex, rest: Buffer): Promise<string> => {
  let wake: () => void = () => undefined;
  const frames: { opcode: number; payload: Buffer }[] = [];
  let over = false;
  const reader = new FrameReader((opcode, payload) => {
    frames.push({ opcode, payload });
    wake();
  });
  reader.push(rest);
  stream.on('data', (bytes: Buffer) => reader.push(bytes));
  for (const event of ['end', 'close', 'error'])
    stream.on(event, () => {
      over = true;
      wake();
    });
  const next = async (): Promise<{ opcode: number; payload: Buffer }> => {
    for (;;) {
      const frame = frames.shift();
      if (frame !== undefined) return frame;
      if (over) throw new Error('the connection ended');
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  for (const size of SIZES) {
    const payload = patternBytes(size, size);
    stream.write(encodeFrame(BINARY, payload, randomBytes(4)));
    const { opcode, payload: back } = await next();
    if (opcode !== BINARY || !back.equals(payload))
      throw new Error(`a message of ${size} bytes came back as ${opcode} with ${back.length}`);
  }
  for (let i = 0; i < 500; i++) stream.write(encodeFrame(TEXT, Buffer.from(`message ${i}`), randomBytes(4)));
  for (let i = 0; i < 500; i++) {
    const text = (await next()).payload.toString();
    if (text !== `message ${i}`) throw new Error(`message ${i} came back as ${text}`);
  }
  stream.write(encodeFrame(PING, Buffer.from('there?'), randomBytes(4)));
  const pong = await next();
  if (pong.opcode !== PONG || pong.payload.toString() !== 'there?') throw new Error(`ping was answered by ${pong.opcode}`);
  stream.write(encodeFrame(CLOSE, Buffer.from([3, 232]), randomBytes(4)));
  const close = await next();
  if (close.opcode !== CLOSE) throw new Error(`close was answered by ${close.opcode}`);
  while (!over)
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  return `${SIZES.length + 500} messages`;
};

const main = async (): Promise<string> => {
  const [, , kind, host = '', port = ''] = process.argv;
  if (kind === 'h2') return converse(await upgradeHttp2(host, Number(port)), Buffer.alloc(0));
  const { socket, rest } = await upgrade(host, Number(port));
  return converse(socket, rest);
};

if (process.argv[1]?.endsWith('websocket-client.ts')) {
  process.exitCode = 1; // also when nothing is left to wait for
  setTimeout(() => {
    console.error(`not over within ${WITHIN_MS} ms`);
    process.exit(1);
  }, WITHIN_MS).unref();
  main().then(
    (detail) => {
      console.log(detail);
      process.exit(0);
    },
    (e: Error) => {
      console.error(e.message);
      process.exit(1);
    },
  );
}
