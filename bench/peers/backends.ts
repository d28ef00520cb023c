// The applications behind the last hop, the same everywhere: nginx answers 1 kB over HTTP/1.1 and HTTP/2 and sends a large file, nghttpd
// answers as a gRPC server does (after the whole request, with trailers). Chosen because they cost little beside a proxy.
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface BackendPorts {
  readonly http: number;
  readonly http2: number;
  readonly grpc: number;
  readonly tcp: number;
}

export const GRPC_PATH = '/bench.Echo/Unary.grpc';
/** Message header and 100 bytes. */
export const GRPC_REQUEST = Buffer.concat([Buffer.from([0, 0, 0, 0, 100]), Buffer.alloc(100, 'x')]);
export const BULK_PATH = '/bulk';
const BULK_BYTES = 1024 ** 3;

/** Everything the two commands below read, relative to `dir`. */
export const writeBackendFiles = (dir: string, host: string, ports: BackendPorts): void => {
  mkdirSync(join(dir, 'grpc/bench.Echo'), { recursive: true });
  mkdirSync(join(dir, 'temp'), { recursive: true });
  writeFileSync(join(dir, 'grpc', GRPC_PATH), Buffer.concat([Buffer.from([0, 0, 0, 4, 0]), Buffer.alloc(1024, 'x')]));
  writeFileSync(join(dir, 'mime.types'), 'application/grpc grpc\n');
  writeFileSync(join(dir, 'bulk'), '');
  truncateSync(join(dir, 'bulk'), BULK_BYTES); // a hole: costs no disk
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path temp;`).join(' ');
  writeFileSync(
    join(dir, 'backend.conf'),
    `daemon off; master_process off; error_log stderr crit; events { worker_connections 8192; }
http {
  access_log off; ${temp} keepalive_requests 100000000; keepalive_timeout 1h; http2_max_concurrent_streams 1024; tcp_nodelay on;
  open_file_cache max=16; sendfile on;
  server { listen ${host}:${ports.http} backlog=4096; location / { default_type text/plain; return 200 "${'x'.repeat(1024)}"; } }
  server { listen ${host}:${ports.http2} http2; location / { default_type text/plain; return 200 "${'x'.repeat(1024)}"; } }
  server { listen ${host}:${ports.tcp} backlog=4096; root .; location / { default_type text/plain; return 200 "${'x'.repeat(1024)}"; } location = ${BULK_PATH} { } }
}
`,
  );
};

export const nginxBackend = (dir: string): string[] => ['nginx', '-p', dir, '-c', 'backend.conf', '-g', 'pid backend.pid;'];

export const grpcBackend = (dir: string, host: string, port: number): string[] => [
  'nghttpd',
  '--no-tls',
  '--address',
  host,
  '--htdocs',
  join(dir, 'grpc'),
  '--mime-types-file',
  join(dir, 'mime.types'),
  '--max-concurrent-streams',
  '1024',
  '--trailer',
  'grpc-status: 0',
  String(port),
];
