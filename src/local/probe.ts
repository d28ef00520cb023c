// One probe of a workload through the hub: an HTTP GET or a TCP connection. Never throws: a probe passes or it does not.
// A sidecar takes connections for an application that is not there yet, so a TCP probe also looks for who listens.

import { readFile } from 'node:fs/promises';
import { ask } from './relay-protocol.ts';

export interface ProbeTarget {
  readonly hubSocket: string;
  readonly address: string;
  readonly port: number;
  readonly timeoutMs: number;
}

const LISTEN = '0A';

/** Something listens on `port` in the network of the process `pid`. */
const listensIn = async (pid: number, port: number): Promise<boolean> => {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const family of ['tcp', 'tcp6']) {
    const table = await readFile(`/proc/${pid}/net/${family}`, 'latin1').catch(() => '');
    for (const line of table.split('\n')) {
      const [, local = '', , state] = line.trim().split(/ +/);
      if (state === LISTEN && local.endsWith(wanted)) return true;
    }
  }
  return false;
};

/** `pid`: of a process in the workload's network. */
export const probeTcp = async ({ hubSocket, address, port, timeoutMs, pid }: ProbeTarget & { readonly pid: number }): Promise<boolean> => {
  if (!(await listensIn(pid, port))) return false;
  const dialled = ask(hubSocket, { op: 'connect', host: address, port });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return (await Promise.race([dialled, late])) !== undefined;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
    dialled.then(
      (socket) => socket.destroy(),
      () => undefined,
    );
  }
};

/** Passes with a status from 200 to 399, as Kubernetes has it. */
export const probeHttp = async (target: ProbeTarget & { readonly path: string }): Promise<boolean> => {
  const { hubSocket, address, port, path, timeoutMs } = target;
  try {
    const socket = await ask(hubSocket, { op: 'connect', host: address, port });
    return await new Promise<boolean>((resolve) => {
      let head = '';
      const done = (passed: boolean): void => {
        clearTimeout(timer);
        socket.destroy();
        resolve(passed);
      };
      const timer = setTimeout(() => done(false), timeoutMs);
      socket.on('error', () => done(false));
      socket.on('close', () => done(false));
      socket.on('data', (chunk: Buffer) => {
        head += chunk.toString('latin1');
        const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
        if (status !== undefined) done(Number(status) >= 200 && Number(status) < 400);
        else if (head.length > 64) done(false);
      });
      socket.resume();
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: ${address}:${port}\r\nUser-Agent: kube-probe/skein\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
      );
    });
  } catch {
    return false;
  }
};
