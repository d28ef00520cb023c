// The hub's side of the relay, inside the hub's network namespace: programs links and rules for the supervisor, opens connections to
// workloads for the host's side and for probes, takes workloads' connections to the outside and hands them to the host's side, and is
// DNS and kube-proxy for workloads outside the mesh.

import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, isIP, type Socket } from 'node:net';
import { libc } from '../agent/capture/netlink-libc.ts';
import { EGRESS_PORT, HUB_ADDRESS } from './addresses.ts';
import { HubDns, type NameTable } from './hub-dns.ts';
import { type Attachment, attachWorkload, setUpHub, setVirtualPorts, type VirtualPort } from './hub-network.ts';
import { answer, ask, join, type RelayRequest, readLine, reset } from './relay-protocol.ts';

export interface HubRelayOptions {
  readonly socketPath: string;
  readonly hostSocketPath: string;
  log(message: string): void;
}

export interface HubTable {
  readonly names: NameTable;
  readonly ports: readonly VirtualPort[];
}

const CONNECT_TIMEOUT_MS = 5_000;

export const startHubRelay = async (options: HubRelayOptions): Promise<void> => {
  setUpHub();
  const dns = new HubDns(options.hostSocketPath);
  await dns.listen(HUB_ADDRESS);
  const egress = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => carryOut(socket, options));
  await new Promise<void>((resolve, reject) => {
    egress.once('error', reject);
    egress.listen(EGRESS_PORT, HUB_ADDRESS, resolve);
  });
  rmSync(options.socketPath, { force: true });
  const control = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    serve(socket, dns).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      // A workload that refuses is its caller's news, and while it starts it refuses often.
      if (!message.includes('ECONNREFUSED')) options.log(message);
      answer(socket, { ok: false, error: message });
      socket.end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    control.once('error', reject);
    control.listen(options.socketPath, resolve);
  });
  chmodSync(options.socketPath, 0o600);
};

const serve = async (socket: Socket, dns: HubDns): Promise<void> => {
  const request = JSON.parse(await readLine(socket)) as RelayRequest;
  switch (request.op) {
    case 'connect':
      await dial(socket, request.host, request.port);
      return;
    case 'attach':
      attachWorkload(request.attachment as Attachment);
      break;
    case 'table': {
      const table = request.table as HubTable;
      setVirtualPorts(table.ports);
      dns.names = table.names;
      break;
    }
    default:
      throw new Error('unknown request');
  }
  answer(socket, { ok: true });
  socket.end();
};

const dial = (socket: Socket, host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    if (isIP(host) === 0) throw new Error('an address is needed');
    const inner = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => inner.destroy(new Error('ETIMEDOUT')), CONNECT_TIMEOUT_MS);
    const refused = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    inner.once('error', refused);
    inner.once('connect', () => {
      clearTimeout(timer);
      inner.off('error', refused);
      answer(socket, { ok: true });
      join(socket, inner);
      resolve();
    });
  });

const carryOut = (socket: Socket, options: HubRelayOptions): void => {
  socket.on('error', () => undefined);
  const target = originalDestination(socket);
  // Without a redirect someone called the relay itself: to carry that on would call itself again.
  if (target === undefined || target.host === HUB_ADDRESS) {
    reset(socket);
    return;
  }
  ask(options.hostSocketPath, { op: 'connect', ...target }).then(
    (outer) => join(socket, outer),
    (error: unknown) => {
      options.log(`egress to ${target.host}:${target.port}: ${String(error)}`);
      reset(socket);
    },
  );
};

const SOL_IP = 0;
const SO_ORIGINAL_DST = 80;

const originalDestination = (socket: Socket): { host: string; port: number } | undefined => {
  // Not public API, but both runtimes have it; held by a test.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd;
  if (typeof fd !== 'number' || fd < 0) return undefined;
  const value = new Uint8Array(16);
  const length = Uint8Array.of(16, 0, 0, 0);
  if (libc().getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, value, length) !== 0) return undefined;
  return { host: value.subarray(4, 8).join('.'), port: ((value[2] ?? 0) << 8) | (value[3] ?? 0) };
};
