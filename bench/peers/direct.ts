// Nobody in between: the same load straight to the backends on loopback.
import type { Path } from '../scenarios.ts';
import type { BackendPorts } from './backends.ts';
import type { Contender } from './contender.ts';

export const portOf = (path: Path, ports: BackendPorts): number | undefined =>
  path === 'two-hops-h2'
    ? ports.http2
    : path === 'one-hop-grpc'
      ? ports.grpc
      : path === 'two-hops-tcp'
        ? ports.tcp
        : path === 'inbound-tls'
          ? undefined
          : ports.http;

export const directOnHost = (backend: BackendPorts): Contender => ({
  name: 'direct',
  note: 'load generator and backend on loopback',
  route: (path) => {
    const port = portOf(path, backend);
    return port === undefined ? 'left out: there is no proxy to measure' : { via: [], host: '127.0.0.1', port, hops: [] };
  },
  roots: () => [],
});
