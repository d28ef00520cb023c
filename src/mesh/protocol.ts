// Protocol of a service port: from `appProtocol`, else the port's name, else a few well-known numbers, else detected at run time.

export type Protocol =
  | 'TCP'
  | 'UDP'
  | 'HTTP'
  | 'HTTP_PROXY'
  | 'HTTP2'
  | 'HTTPS'
  | 'TLS'
  | 'GRPC'
  | 'GRPC-WEB'
  | 'MONGO'
  | 'REDIS'
  | 'MYSQL'
  /** Sniffed. */
  | 'UNSUPPORTED';

const NAMES: ReadonlyMap<string, Protocol> = new Map([
  ['tcp', 'TCP'],
  ['udp', 'UDP'],
  ['grpc', 'GRPC'],
  ['grpc-web', 'GRPC-WEB'],
  ['http', 'HTTP'],
  ['http_proxy', 'HTTP_PROXY'],
  ['http2', 'HTTP2'],
  ['https', 'HTTPS'],
  ['tls', 'TLS'],
  ['mongo', 'MONGO'],
  ['redis', 'REDIS'],
  ['mysql', 'MYSQL'],
]);

const APP_PROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ['kubernetes.io/h2c', 'HTTP2'],
  ['kubernetes.io/ws', 'HTTP'],
  ['kubernetes.io/wss', 'HTTPS'],
]);

/** Server speaks first, so detection would wait for ever. */
const SERVER_FIRST_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27017]);

/** As Istio writes protocols in its own kinds (`protocol: HTTP`); unknown or empty is sniffed. */
export const protocolOfName = (name: string): Protocol => NAMES.get(name.toLowerCase()) ?? 'UNSUPPORTED';

const protocolOfPortName = (name: string): Protocol => {
  const lower = name.toLowerCase();
  if (lower.startsWith('grpc-web')) return 'GRPC-WEB';
  const dash = lower.indexOf('-');
  return NAMES.get(dash === -1 ? lower : lower.slice(0, dash)) ?? 'UNSUPPORTED';
};

export const protocolOfServicePort = (port: number, name: string, transport: string, appProtocol: string | undefined): Protocol => {
  if (transport === 'UDP') return 'UDP';
  const app = appProtocol?.toLowerCase();
  const special = app === undefined ? undefined : APP_PROTOCOLS.get(app);
  if (special !== undefined) return special;
  const named = protocolOfPortName(app ?? name);
  return named === 'UNSUPPORTED' && SERVER_FIRST_PORTS.has(port) ? 'TCP' : named;
};

export const isHttp = (p: Protocol): boolean => p === 'HTTP' || p === 'HTTP2' || p === 'HTTP_PROXY' || p === 'GRPC' || p === 'GRPC-WEB';
export const isHttp2 = (p: Protocol): boolean => p === 'HTTP2' || p === 'GRPC' || p === 'GRPC-WEB';
export const isGrpc = (p: Protocol): boolean => p === 'GRPC' || p === 'GRPC-WEB';
export const isTls = (p: Protocol): boolean => p === 'HTTPS' || p === 'TLS';
export const isHttpOrSniffed = (p: Protocol): boolean => isHttp(p) || p === 'UNSUPPORTED';

/** What a listener has to be able to do for a port. */
export type ListenerProtocol = 'http' | 'tcp' | 'auto';
export const listenerProtocol = (p: Protocol): ListenerProtocol => (isHttp(p) ? 'http' : p === 'UNSUPPORTED' ? 'auto' : 'tcp');
