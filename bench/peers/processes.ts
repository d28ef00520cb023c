// Processes that the benchmark starts and ends, each by its id.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { logTail } from './log-tail.ts';

/** In front of a command: as many descriptors as thousands of connections need, whatever the shell's soft limit. */
export const MANY_DESCRIPTORS = ['sh', '-c', 'ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"; exec "$@"', 'sh'] as const;

const GRACE_MS = 3_000;
const READY_MS = 15_000;

export class Processes {
  readonly #children: ChildProcess[] = [];

  /** Output goes to `log`. */
  start(command: readonly string[], log: string, env: Readonly<Record<string, string>> = {}): number {
    const out = openSync(log, 'a');
    const [program, ...args] = [...MANY_DESCRIPTORS, ...command];
    // A session of its own: Ctrl-C is for us, and we end them in order.
    const child = spawn(program, args, { stdio: ['ignore', out, out], env: { ...process.env, ...env }, detached: true });
    closeSync(out);
    child.on('error', () => undefined);
    if (child.pid === undefined) throw new Error(`${command[0]} could not be started`);
    this.#children.push(child);
    return child.pid;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.splice(0).map(end));
  }
}

const end = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
  await gone;
  clearTimeout(timer);
};

export const freePorts = async (count: number): Promise<number[]> => {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<{ port: number; close(): void }>((resolve, reject) => {
          const server = createServer().once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve({ port: typeof address === 'object' && address !== null ? address.port : 0, close: () => server.close() });
          });
        }),
    ),
  );
  for (const server of servers) server.close();
  return servers.map((s) => s.port);
};

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

/** Resolves when all ports accept; otherwise tells the end of the log. */
export const untilListening = async (name: string, ports: readonly number[], log: string): Promise<void> => {
  const deadline = performance.now() + READY_MS;
  for (const port of ports) {
    while (!(await accepts(port))) {
      if (performance.now() > deadline) throw new Error(`${name} does not listen on ${port}:\n${logTail(log)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
};
