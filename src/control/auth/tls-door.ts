// TLS in front of the gRPC door: presents a certificate of the mesh's own authority, asks peers for theirs and checks it against the
// mesh's roots. A peer without one may come in; what it may do is decided per call. No session is resumed: trust is looked at anew.
import { constants, type X509Certificate } from 'node:crypto';
import type net from 'node:net';
import { createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { peerX509 } from './peer-certificate.ts';

const HANDSHAKE_MS = 10_000;
/** Handshakes cost; agents open one connection each. */
const CONNECTIONS_MAX = 20_000;

/** What is presented and trusted; both change while the door is open. */
export interface TlsMaterial {
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootsPem: readonly string[];
}

export interface TlsDoor {
  renew(material: TlsMaterial): void;
  listener(connected: (socket: TLSSocket, certificate: X509Certificate | undefined) => void): net.Server;
}

export const tlsDoor = (first: TlsMaterial): TlsDoor => {
  let material = first;
  const servers = new Set<ReturnType<typeof createServer>>();
  return {
    renew: (renewed) => {
      material = renewed;
      for (const server of servers) server.setSecureContext(contextOf(renewed));
    },
    listener: (connected) => {
      const server = createServer({
        ...contextOf(material),
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['h2', 'http/1.1'],
        handshakeTimeout: HANDSHAKE_MS,
        noDelay: true,
      });
      server.maxConnections = CONNECTIONS_MAX;
      server.on('secureConnection', (socket) => connected(socket, socket.authorized ? peerX509(socket) : undefined));
      server.on('tlsClientError', (_error, socket) => socket.destroy());
      server.once('close', () => servers.delete(server));
      servers.add(server);
      return server;
    },
  };
};

const contextOf = ({ certPem, keyPem, rootsPem }: TlsMaterial): SecureContextOptions => ({
  cert: certPem,
  key: keyPem,
  ca: [...rootsPem],
  minVersion: 'TLSv1.2',
  secureOptions: constants.SSL_OP_NO_TICKET,
});
