// How a workload's health is found out, as Istio's ReadinessProbe says it: read from the agent's own ProxyConfig (JSON) or from one that
// the control plane sent (field names of the protocol). Pure.
import { err, ok, type Result } from '../base/result.ts';

export type ProbeCheck =
  | {
      readonly kind: 'http';
      readonly host: string;
      readonly port: number;
      readonly path: string;
      readonly https: boolean;
      readonly headers: readonly (readonly [name: string, value: string])[];
    }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'grpc'; readonly host: string; readonly port: number; readonly service: string }
  | { readonly kind: 'exec'; readonly command: readonly string[] };

export interface WorkloadProbe {
  readonly initialDelayMs: number;
  readonly timeoutMs: number;
  readonly periodMs: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
  readonly check: ProbeCheck;
}

type Fields = Readonly<Record<string, unknown>>;

const LOCAL_HOST = 'localhost';
const HEADER_NAME = /^[-_A-Za-z0-9]+$/;

export const readProbe = (value: unknown): Result<WorkloadProbe, string> => {
  const probe = fields(value);
  const check = checkOf(probe);
  if (!check.ok) return check;
  const whole = (camel: string, snake: string, otherwise: number): number => {
    const given = probe[camel] ?? probe[snake];
    return typeof given === 'number' && Number.isInteger(given) && given > 0 && given < 2 ** 31 ? given : otherwise;
  };
  return ok({
    initialDelayMs: 1000 * whole('initialDelaySeconds', 'initial_delay_seconds', 0),
    timeoutMs: 1000 * whole('timeoutSeconds', 'timeout_seconds', 1),
    periodMs: 1000 * whole('periodSeconds', 'period_seconds', 10),
    successThreshold: whole('successThreshold', 'success_threshold', 1),
    failureThreshold: whole('failureThreshold', 'failure_threshold', 1),
    check: check.value,
  });
};

const checkOf = (probe: Fields): Result<ProbeCheck, string> => {
  const http = probe['httpGet'] ?? probe['http_get'];
  const tcp = probe['tcpSocket'] ?? probe['tcp_socket'];
  const { exec, grpc } = probe;
  if (http !== undefined) return httpCheck(fields(http));
  if (tcp !== undefined) return withPort(fields(tcp), 'tcpSocket', (host, port) => ({ kind: 'tcp', host, port }));
  if (grpc !== undefined)
    return withPort(fields(grpc), 'grpc', (host, port) => ({ kind: 'grpc', host, port, service: text(fields(grpc)['service']) }));
  const command = fields(exec)['command'];
  if (Array.isArray(command) && command.length > 0 && command.every((c) => typeof c === 'string')) return ok({ kind: 'exec', command });
  return err('it has none of httpGet, tcpSocket, exec with a command, and grpc');
};

const httpCheck = (http: Fields): Result<ProbeCheck, string> => {
  const path = text(http['path']);
  const given = http['httpHeaders'] ?? http['http_headers'];
  const headers = (Array.isArray(given) ? given : []).map((h) => [text(fields(h)['name']), text(fields(h)['value'])] as const);
  const bad = headers.find(([name, value]) => !HEADER_NAME.test(name) || !isText(value));
  if (bad) return err(`httpGet has a header ${JSON.stringify(bad[0])} that cannot be written`);
  if (!isText(path) || path.includes(' ')) return err(`httpGet.path ${JSON.stringify(path)} cannot be written`);
  return withPort(http, 'httpGet', (host, port) => ({
    kind: 'http',
    host,
    port,
    path: path.startsWith('/') ? path : `/${path}`,
    https: text(http['scheme']).toUpperCase() === 'HTTPS',
    headers,
  }));
};

const withPort = (of: Fields, name: string, make: (host: string, port: number) => ProbeCheck): Result<ProbeCheck, string> => {
  const { port } = of;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return err(`${name} has no port`);
  return ok(make(text(of['host']) || LOCAL_HOST, port));
};

const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
/** Nothing that would end a header line. */
const isText = (value: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
