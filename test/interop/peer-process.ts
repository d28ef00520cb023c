// A peer beside a proxy on this machine's loopback: one of the programs in peers/ on ports of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePorts } from '../free-port.ts';
import { ROOT } from '../integration/mesh.ts';
import { eventually } from '../integration/suite.ts';

interface Peer {
  /** Its first port; HTTP/2 with prior knowledge is at the next. */
  readonly port: number;
  readonly portH2: number;
  readonly child: ChildProcess;
  stop(): void;
}

export const startPeer = async (program: string, folder: string, env: Readonly<Record<string, string>> = {}): Promise<Peer> => {
  const [port = 0, portH2 = 0] = await freePorts(2);
  const fd = openSync(join(folder, `${program}-${port}.log`), 'w');
  const child = spawn('sh', [join(ROOT, 'scripts/node'), join(ROOT, 'test/interop/peers', program)], {
    stdio: ['ignore', fd, fd],
    env: { ...process.env, HOST: '127.0.0.1', PORT: String(port), PORT_H2: String(portH2), PORTS: `${port},${portH2}`, ...env },
  });
  closeSync(fd);
  try {
    await eventually(`${program} listens`, 20_000, () => accepts(port));
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return { port, portH2, child, stop: () => void child.kill('SIGKILL') };
};

const accepts = (port: number): Promise<true | undefined> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(undefined));
  });
