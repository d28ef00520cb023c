// One attempt to find a workload healthy. Never throws and never outlasts its time: '' when it is healthy, else why not.
import { spawn } from 'node:child_process';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createLog } from '../base/log.ts';
import { GrpcChannel } from './grpc-channel.ts';
import { isLoopback } from './grpc-target.ts';
import { PROBE_ANSWER_BYTES_MAX } from './limits.ts';
import type { ProbeCheck } from './workload-probe.ts';

/** `source`: what capture lets pass; a host of this machine needs none. */
export const attemptProbe = (check: ProbeCheck, timeoutMs: number, source: string | undefined): Promise<string> => {
  if (check.kind === 'exec') return runCommand(check.command, timeoutMs);
  const [host, ...others] = check.host === 'localhost' ? ['127.0.0.1', '::1'] : [check.host];
  const untilMs = Date.now() + timeoutMs;
  const at = async (address: string): Promise<string> => {
    const localAddress = isLoopback(address) || isIP(address) !== isIP(source ?? '') ? undefined : source;
    const leftMs = Math.max(1, untilMs - Date.now());
    if (check.kind === 'grpc') return askGrpc({ ...check, host: address }, leftMs, localAddress);
    return askSocket({ ...check, host: address }, check.kind === 'http' ? check : undefined, leftMs, localAddress);
  };
  // A server of this machine may listen on either family.
  const next = async (address: string, rest: readonly string[]): Promise<string> => {
    const problem = await at(address);
    const [other] = rest;
    return problem === '' || other === undefined || !problem.includes('ECONNREFUSED') ? problem : (await at(other)) && problem;
  };
  return next(host ?? '', others);
};

type HttpCheck = Extract<ProbeCheck, { kind: 'http' }>;

/** A connection; with `http` also an answer, whose status is from 200 to 399. */
const askSocket = (
  { host, port }: { readonly host: string; readonly port: number },
  http: HttpCheck | undefined,
  timeoutMs: number,
  localAddress: string | undefined,
): Promise<string> =>
  new Promise((resolve) => {
    const options = { host, port, ...(localAddress === undefined ? {} : { localAddress }) };
    const socket: Socket = http?.https === true ? connectTls({ ...options, rejectUnauthorized: false }) : connectTcp(options);
    let head = '';
    const done = (problem: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => done(`no answer from ${host}:${port} within ${timeoutMs} ms`), timeoutMs);
    socket.on('error', (e) => done(e.message || String(e)));
    socket.on('close', () => done(`${host}:${port} closed the connection without an answer`));
    socket.once(http?.https === true ? 'secureConnect' : 'connect', () => {
      if (http) socket.write(httpRequest(http), 'latin1');
      else done('');
    });
    socket.on('data', (chunk: Buffer) => {
      head += chunk.toString('latin1');
      // Interim answers come before the one that counts.
      head = head.replace(/^(?:HTTP\/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)+/, '');
      const status = /^HTTP\/1\.[01] ([2-9]\d\d)/.exec(head)?.[1];
      if (status !== undefined) done(Number(status) < 400 ? '' : `HTTP status ${status}`);
      else if (head.length > PROBE_ANSWER_BYTES_MAX) done('the answer is not HTTP');
    });
  });

const httpRequest = ({ host, port, path, headers }: HttpCheck): string => {
  const has = (name: string): boolean => headers.some(([n]) => n.toLowerCase() === name);
  const own = [
    ...(has('host') ? [] : [['Host', `${isIP(host) === 6 ? `[${host}]` : host}:${port}`]]),
    ...(has('user-agent') ? [] : [['User-Agent', 'skein-probe/1.0']]),
    ['Connection', 'close'],
  ];
  return `GET ${path} HTTP/1.1\r\n${[...headers, ...own].map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`;
};

const silent = createLog(
  'probe',
  () => undefined,
  () => new Date(),
);

/** gRPC's health service: one service, or with '' the whole server. */
const askGrpc = async (
  { host, port, service }: Extract<ProbeCheck, { kind: 'grpc' }>,
  timeoutMs: number,
  localAddress: string | undefined,
): Promise<string> => {
  const channel = new GrpcChannel({
    target: { kind: 'tcp', host, port, caPem: undefined, localAddress },
    metadata: () => ({}),
    log: silent,
  });
  const name = Buffer.from(service);
  // HealthCheckRequest { service = 1 }; HealthCheckResponse { status = 1 }, where 1 is SERVING.
  const request = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a]), varint(name.length), name]);
  const answer = await channel.unary('/grpc.health.v1.Health/Check', request, timeoutMs);
  channel.close();
  if (!answer.ok) return `gRPC health check of ${host}:${port}: ${answer.error.message || `status ${answer.error.code}`}`;
  const status = answer.value[0] === 0x08 ? answer.value[1] : 0;
  return status === 1 ? '' : `gRPC health check of ${host}:${port}: not serving (${status ?? 0})`;
};

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
};

/** With what it starts, it is one group of processes: all of them end with its time. */
const runCommand = ([file = '', ...args]: readonly string[], timeoutMs: number): Promise<string> =>
  new Promise((resolve) => {
    const child = spawn(file, args, { stdio: 'ignore', detached: true });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }, timeoutMs);
    const done = (problem: string): void => {
      clearTimeout(timer);
      resolve(problem);
    };
    child.once('error', (e) => done(`${file}: ${e.message}`));
    child.once('exit', (code, signal) => {
      if (late) done(`${file} did not end within ${timeoutMs} ms`);
      else if (code === 0) done('');
      else done(`${file} ended with ${signal ?? `exit code ${code}`}`);
    });
  });
