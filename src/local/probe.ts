// One probe of a workload through the hub: an HTTP GET or a TCP connection. Never throws: a probe passes or it does not.

import { ask } from './relay-protocol.ts';

export interface ProbeTarget {
  readonly hubSocket: string;
  readonly address: string;
  readonly port: number;
  readonly timeoutMs: number;
}

export const probeTcp = async ({ hubSocket, address, port, timeoutMs }: ProbeTarget): Promise<boolean> => {
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
