// npm run test:interop [-- --proxy skein|envoy|both --only PATTERN]: programs that know nothing of this project, through two sidecars with
// mutual TLS. With Envoy in the sidecars' place the same checks say whether a failure is the proxy's or the suite's.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../conformance/proxies.ts';
import { Mesh, ROOT, removeAll } from '../integration/mesh.ts';
import { type Named, Suite } from '../integration/suite.ts';
import { createAuthority } from '../proxy/certificates.ts';
import { bareChecks } from './bare-checks.ts';
import type { ProxyKind } from './bare-proxy.ts';
import { grpcChecks, whyNoGrpc } from './grpc-checks.ts';
import { h2specBareChecks, h2specMeshChecks, whyNoH2spec } from './h2spec-checks.ts';
import { curlChecks, gatewayChecks, h2loadChecks, webSocketChecks } from './http-checks.ts';
import { mutualTlsCheck } from './mutual-tls-check.ts';
import { rateLimitChecks } from './rate-limit-checks.ts';
import { greetingChecks, redisChecks, whyNoRedis } from './tcp-checks.ts';
import { tool, toolPath } from './tools.ts';
import { workersChecks } from './workers-checks.ts';

const { values } = parseArgs({ options: { proxy: { type: 'string', default: 'skein' }, only: { type: 'string' } } });
const suite = new Suite(values.only);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    removeAll();
    process.exit(130);
  });

const interopMesh = (kind: ProxyKind, port: number): Mesh => {
  const mesh = new Mesh({
    port,
    folder: join(ROOT, 'test/interop'),
    env: { PATH: toolPath(), ...(kind === 'envoy' ? { ENVOY: envoyBinary() ?? '' } : {}) },
  });
  if (whyNoGrpc() !== undefined) rmSync(join(mesh.dir, 'mesh/grpc.yaml'));
  if (whyNoRedis() !== undefined) rmSync(join(mesh.dir, 'mesh/redis.yaml'));
  const authority = createAuthority('interop gateway');
  const { certificate, key } = authority.issue({ dns: 'gate.test' });
  writeFileSync(join(mesh.dir, 'gateway-ca.pem'), authority.pem);
  writeFileSync(join(mesh.dir, 'gateway.pem'), certificate);
  writeFileSync(join(mesh.dir, 'gateway-key.pem'), key);
  const ingress = join(mesh.dir, 'mesh/ingress.yaml');
  const text = readFileSync(ingress, 'utf8');
  writeFileSync(
    ingress,
    text.replace('CERTIFICATE_FILE', join(mesh.dir, 'gateway.pem')).replace('KEY_FILE', join(mesh.dir, 'gateway-key.pem')),
  );
  return mesh;
};

/** 443 of the gateway is 8000 above it on the host. */
const HTTPS = { host: '127.0.0.1', port: 8443 };

const meshChecks = async (kind: ProxyKind, port: number, named: Named): Promise<void> => {
  const mesh = interopMesh(kind, port);
  try {
    const up = await suite.check(
      named('the mesh of peers is ready'),
      async () => {
        await mesh.up(...(kind === 'envoy' ? ['--proxy', 'envoy'] : []));
        return undefined;
      },
      'always',
    );
    if (!up) {
      process.stdout.write(`${(await mesh.skein('status')).out.slice(-3000)}\n`);
      return;
    }
    await mutualTlsCheck(suite, mesh, named);
    await curlChecks(suite, mesh, named);
    if (tool('h2load') === undefined) suite.skip(named('h2load'), 'h2load', 'there is no h2load');
    else await h2loadChecks(suite, mesh, named);
    await gatewayChecks(suite, mesh, named, HTTPS);
    await webSocketChecks(suite, mesh, named);
    const noGrpc = whyNoGrpc();
    if (noGrpc === undefined) await grpcChecks(suite, mesh, named);
    else suite.skip(named('gRPC interop'), 'grpc', noGrpc);
    const noRedis = whyNoRedis();
    if (noRedis === undefined) await redisChecks(suite, mesh, named);
    else suite.skip(named('Redis'), 'redis', noRedis);
    await greetingChecks(suite, mesh, named, kind);
    await h2specMeshChecks(suite, mesh, kind, named);
  } finally {
    mesh.remove();
  }
};

const namespaces = spawnSync('unshare', ['--net', 'true']).status === 0;
const kinds: readonly ProxyKind[] = values.proxy === 'both' ? ['envoy', 'skein'] : [values.proxy === 'envoy' ? 'envoy' : 'skein'];
for (const [index, kind] of kinds.entries()) {
  const named: Named = (name) => `${kind}: ${name}`;
  if (kind === 'envoy' && envoyBinary() === undefined) {
    suite.skip(named('all'), 'envoy', 'there is no envoy binary (sh test/setup installs it)');
    continue;
  }
  await bareChecks(suite, kind, named);
  await workersChecks(suite, kind, named);
  await rateLimitChecks(suite, kind, named);
  const noH2spec = whyNoH2spec();
  if (noH2spec === undefined) await h2specBareChecks(suite, kind, named);
  else suite.skip(named('h2spec'), 'h2spec', noH2spec);
  if (namespaces) await meshChecks(kind, 18_090 + index, named);
  else suite.skip(named('the mesh of peers'), 'namespaces', 'this machine forbids network namespaces, or this is not root');
}
suite.finish();
