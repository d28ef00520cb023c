// npm run test:nodrop [-- --short --proxy skein|envoy --rate 500 --protocols http1,tcp --only PATTERN]: configuration, certificates,
// endpoints and processes change under load with retries off, and no caller notices. What counts is said in verdict.ts.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../conformance/proxies.ts';
import { removeAll } from '../integration/mesh.ts';
import { type Named, Suite } from '../integration/suite.ts';
import type { ProxyKind } from '../interop/bare-proxy.ts';
import { FULL, SHORT } from './faults.ts';
import type { Protocol } from './load-result.ts';
import { meshChecks } from './mesh-checks.ts';
import { pairChecks } from './pair-checks.ts';

const PROTOCOLS: readonly Protocol[] = ['http1', 'http2', 'websocket', 'tcp'];

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    proxy: { type: 'string', default: 'skein' },
    rate: { type: 'string' },
    protocols: { type: 'string' },
    only: { type: 'string' },
  },
});
const suite = new Suite(values.only);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    removeAll();
    process.exit(130);
  });

const kind: ProxyKind = values.proxy === 'envoy' ? 'envoy' : 'skein';
const protocols = PROTOCOLS.filter((p) => values.protocols === undefined || values.protocols.split(',').includes(p));
const options = {
  kind,
  protocols,
  extent: values.short ? SHORT : FULL,
  rate: Number(values.rate ?? (values.short ? 125 : 500)),
};
if (kind === 'envoy' && envoyBinary() === undefined) suite.skip('envoy', 'envoy', 'there is no envoy binary (sh test/setup installs it)');
else {
  const named =
    (where: string): Named =>
    (name) =>
      `${kind}, ${where}: ${name}`;
  await pairChecks(suite, named('pair'), options);
  if (spawnSync('unshare', ['--net', 'true']).status === 0) await meshChecks(suite, named('mesh'), options);
  else suite.skip('the mesh', 'namespaces', 'this machine forbids network namespaces, or this is not root');
}
suite.finish();
