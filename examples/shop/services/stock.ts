// stock: keeps numbers in memory and speaks Redis' protocol, so any Redis client can look at the shop's stock.
import { createServer } from 'node:net';
import { encodeReply, RespReader, type RespValue } from './resp.ts';

const values = new Map<string, string>([
  ['stock:tea', '100000'],
  ['stock:mug', '100000'],
  ['stock:pot', '100000'],
]);

const integer = (text: string | undefined): number => {
  if (text === undefined || !/^-?\d{1,15}$/.test(text)) throw new Error('value is not an integer or out of range');
  return Number(text);
};
const add = (key: string, by: number): number => {
  const sum = integer(values.get(key) ?? '0') + by;
  values.set(key, String(sum));
  return sum;
};

const COMMANDS: { readonly [name: string]: (args: string[]) => RespValue } = {
  PING: ([text]) => text ?? 'PONG',
  ECHO: ([text]) => text ?? '',
  GET: ([key]) => values.get(key ?? '') ?? null,
  SET: ([key, value]) => {
    values.set(key ?? '', value ?? '');
    return 'OK';
  },
  DEL: (keys) => keys.filter((k) => values.delete(k)).length,
  MGET: (keys) => keys.map((k) => values.get(k) ?? null),
  INCRBY: ([key, by]) => add(key ?? '', integer(by)),
  DECRBY: ([key, by]) => add(key ?? '', -integer(by)),
  INCR: ([key]) => add(key ?? '', 1),
  DECR: ([key]) => add(key ?? '', -1),
  DBSIZE: () => values.size,
};

const run = (words: RespValue): RespValue => {
  const [name, ...args] = Array.isArray(words) ? (words as RespValue[]).map(String) : String(words).split(/\s+/);
  const command = COMMANDS[(name ?? '').toUpperCase()];
  if (!command) return new Error(`unknown command '${name}'`);
  try {
    return command(args);
  } catch (error) {
    return error as Error;
  }
};

const server = createServer((socket) => {
  const reader = new RespReader();
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    try {
      const replies = reader.push(chunk).map((words) => encodeReply(run(words)));
      if (replies.length > 0) socket.write(replies.join(''));
    } catch (error) {
      socket.end(encodeReply(error as Error));
    }
  });
});
const port = Number(process.env['PORT'] ?? 6379);
server.listen(port, () => console.log(JSON.stringify({ listening: port })));
process.on('SIGTERM', () => process.exit(0));
