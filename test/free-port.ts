// Ports for what must be told its port before it listens. They lie below the range the kernel takes for outgoing connections and for
// port 0, so that nobody's connection sits on one between the choice and the use; two choices at the same time differ by chance.
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

const FIRST = 17_000;
const END = 32_700;

interface Held {
  readonly port: number;
  readonly server: Server;
}

const hold = async (attempts = 50): Promise<Held> => {
  const port = randomInt(FIRST, END);
  // On every address: what is free there is free on each.
  const server = createServer().listen(port, '0.0.0.0');
  try {
    await once(server, 'listening');
    return { port, server };
  } catch (error) {
    if (attempts === 0) throw error;
    return await hold(attempts - 1);
  }
};

/** So many different ports that nothing listens on. */
export const freePorts = async (count: number): Promise<number[]> => {
  const held = await Promise.all(Array.from({ length: count }, () => hold()));
  for (const { server } of held) await once(server.close(), 'close');
  return held.map(({ port }) => port);
};

export const freePort = async (): Promise<number> => (await freePorts(1))[0] ?? 0;
