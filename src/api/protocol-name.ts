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
  hbone: 'http',
};

/** How Istio treats a protocol name, in any case; undefined for a name it does not know. */
export const protocolFamily = (name: string): 'http' | 'tls' | 'tcp' | 'udp' | undefined => families[name.toLowerCase()];

/** An empty protocol means: find out from the first bytes. */
export const checkProtocol = (name: string): string | undefined =>
  name === '' || protocolFamily(name) !== undefined ? undefined : `unsupported protocol: ${JSON.stringify(name)}`;
