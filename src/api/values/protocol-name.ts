// Protocols as ports name them (`port.protocol` of Gateway and ServiceEntry).

const families: Readonly<Record<string, 'http' | 'tls' | 'tcp' | 'udp'>> = {
  http: 'http',
  http2: 'http',
  http_proxy: 'http',
  grpc: 'http',
  'grpc-web': 'http',
  https: 'tls',
  tls: 'tls',
  tcp: 'tcp',
  mongo: 'tcp',
  redis: 'tcp',
  mysql: 'tcp',
  udp: 'udp',
};

/** How Istio treats a protocol name, in any case; undefined for a name it does not know. */
export const protocolFamily = (name: string): 'http' | 'tls' | 'tcp' | 'udp' | undefined => families[name.toLowerCase()];

/** An empty protocol means: find out from the first bytes. */
export const checkProtocol = (name: string): string | undefined =>
  name === '' || protocolFamily(name) !== undefined ? undefined : `unsupported protocol: ${JSON.stringify(name)}`;

const appProtocols: ReadonlySet<string> = new Set(['kubernetes.io/h2c', 'kubernetes.io/ws', 'kubernetes.io/wss']);
/** Numbers that mean TCP where nothing is written. */
const tcpPorts: ReadonlySet<number> = new Set([25, 53, 3306, 27017]);

/** Whether a Service port says its protocol: by appProtocol, else by the word before the first dash of its name, else by its number. */
export const saysProtocol = (port: { readonly name?: string; readonly appProtocol?: string; readonly port: number }): boolean => {
  const written = (port.appProtocol ?? port.name ?? '').toLowerCase();
  if (appProtocols.has(written) || written.startsWith('grpc-web')) return true;
  return protocolFamily(written.split('-')[0] ?? '') !== undefined || tcpPorts.has(port.port);
};
