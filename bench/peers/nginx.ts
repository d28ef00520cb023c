// nginx as two relays: one worker each, no log.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Relay, RelayContext, RelayPorts } from './host-relays.ts';

const NO_H2 = 'left out: nginx speaks no HTTP/2 to upstreams (grpc_pass opens a connection for each request at a time)';
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';
const SUITE = 'TLS_AES_128_GCM_SHA256';

const configuration = (dir: string, name: string, http: string, stream: string): string[] => {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path temp;`).join(' ');
  writeFileSync(
    join(dir, `${name}.conf`),
    `daemon off; master_process off; worker_processes 1; pid ${name}.pid; error_log stderr crit; load_module ${STREAM_MODULE};
events { worker_connections 8192; }
http { access_log off; ${temp} keepalive_requests 100000000; keepalive_timeout 1h; client_header_timeout 1h; proxy_buffering on; tcp_nodelay on;
proxy_http_version 1.1; proxy_set_header Connection ""; ${http} }
stream { ${stream} }
`,
  );
  return ['nginx', '-p', dir, '-c', `${name}.conf`];
};

const upstream = (name: string, port: number): string =>
  `upstream ${name} { server 127.0.0.1:${port}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 1h; }`;

const clientTls = (dir: string, conf: string): string =>
  `proxy_ssl_name bench; proxy_ssl_verify on; proxy_ssl_protocols TLSv1.3; ${conf} proxy_ssl_certificate ${dir}/leaf.pem;
   proxy_ssl_certificate_key ${dir}/leaf-key.pem; proxy_ssl_trusted_certificate ${dir}/ca.pem;`;

const serverTls = (dir: string): string =>
  `ssl_certificate ${dir}/leaf.pem; ssl_certificate_key ${dir}/leaf-key.pem; ssl_client_certificate ${dir}/ca.pem; ssl_verify_client on;
   ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_conf_command Ciphersuites ${SUITE};`;

const configure = ({ dir, certificates, backend }: RelayContext, ports: RelayPorts) => {
  mkdirSync(join(dir, 'temp'), { recursive: true });
  const suite = `proxy_ssl_conf_command Ciphersuites ${SUITE}; proxy_ssl_conf_command Curves X25519;`;
  const out = configuration(
    dir,
    'out',
    `${upstream('b', backend.http)} ${upstream('s', ports.tls)}
     server { listen 127.0.0.1:${ports.oneHop}; location / { proxy_pass http://b; } }
     server { listen 127.0.0.1:${ports.twoHops}; location / { proxy_pass https://s; ${clientTls(certificates, suite)} } }`,
    `server { listen 127.0.0.1:${ports.twoHopsTcp} backlog=4096; proxy_pass 127.0.0.1:${ports.tlsTcp}; proxy_ssl on; ${clientTls(certificates, suite)} }`,
  );
  const into = configuration(
    dir,
    'into',
    `${upstream('b', backend.http)}
     server { listen 127.0.0.1:${ports.tls} ssl backlog=4096; ${serverTls(certificates)} location / { proxy_pass http://b; } }`,
    `server { listen 127.0.0.1:${ports.tlsTcp} ssl backlog=4096; ${serverTls(certificates)} proxy_pass 127.0.0.1:${backend.tcp}; }`,
  );
  return { out, into };
};

export const nginx: Relay = {
  name: 'nginx',
  note: 'one worker a hop, no log, TLS 1.3 with AES-128-GCM and X25519 (its OpenSSL has no hybrid), buffering as by default',
  cannot: { 'two-hops-h2': NO_H2, 'one-hop-grpc': NO_H2 },
  configure,
};
