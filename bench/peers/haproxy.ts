// haproxy as two relays: one thread each, no log.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Relay, RelayContext, RelayPorts } from './host-relays.ts';

const GLOBAL = `global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
`;

const section = (name: string, mode: 'http' | 'tcp', bind: string, server: string): string => `listen ${name}
  mode ${mode}
  bind 127.0.0.1:${bind}
  server s 127.0.0.1:${server}
`;

const configure = ({ dir, certificates: c, backend }: RelayContext, ports: RelayPorts) => {
  const tlsOut = `ssl verify required ca-file ${c}/ca.pem crt ${c}/both.pem verifyhost bench sni str(bench)`;
  const tlsIn = `ssl crt ${c}/both.pem ca-file ${c}/ca.pem verify required`;
  const out = [
    section('one', 'http', `${ports.oneHop}`, `${backend.http}`),
    section('two', 'http', `${ports.twoHops}`, `${ports.tls} ${tlsOut}`),
    section('h2', 'http', `${ports.twoHopsH2} proto h2`, `${ports.tlsH2} ${tlsOut} alpn h2`),
    section('grpc', 'http', `${ports.oneHopGrpc} proto h2`, `${backend.grpc} proto h2`),
    section('tcp', 'tcp', `${ports.twoHopsTcp}`, `${ports.tlsTcp} ${tlsOut}`),
  ];
  const into = [
    section('tls', 'http', `${ports.tls} ${tlsIn}`, `${backend.http}`),
    section('h2', 'http', `${ports.tlsH2} ${tlsIn} alpn h2`, `${backend.http2} proto h2`),
    section('tcp', 'tcp', `${ports.tlsTcp} ${tlsIn}`, `${backend.tcp}`),
  ];
  const command = (name: string, sections: readonly string[]): string[] => {
    writeFileSync(join(dir, `${name}.cfg`), GLOBAL + sections.join(''));
    return ['haproxy', '-db', '-f', join(dir, `${name}.cfg`)];
  };
  return { out: command('out', out), into: command('into', into) };
};

export const haproxy: Relay = {
  name: 'haproxy',
  note: 'one thread a hop, no log, TLS 1.3 with AES-128-GCM and X25519 (its OpenSSL has no hybrid), http-reuse always',
  cannot: {},
  configure,
};
