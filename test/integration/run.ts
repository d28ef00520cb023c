// npm run test:integration [-- --proxy skein|envoy|rootless] [--only PATTERN]: the shop as a user runs it, on real namespaces.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../conformance/proxies.ts';
import { shopChecks } from './shop-checks.ts';
import { Suite } from './suite.ts';

const { values } = parseArgs({ options: { proxy: { type: 'string' }, only: { type: 'string' } } });
const suite = new Suite(values.only);
const wanted = (kind: string): boolean => values.proxy === undefined || values.proxy === kind;

const namespaces =
  spawnSync('unshare', process.getuid?.() === 0 ? ['--net', 'true'] : ['--net', '--user', '--map-root-user', 'true']).status === 0;
const NOBODY = 65534;

if (!namespaces) {
  suite.skip('the shop', 'namespaces', 'this machine forbids network namespaces');
} else {
  if (wanted('skein')) await shopChecks(suite, { title: 'skein', port: 18080, up: [], kills: true });
  if (wanted('envoy')) {
    const envoy = envoyBinary();
    if (envoy) await shopChecks(suite, { title: 'envoy', port: 18081, up: ['--proxy', 'envoy'], env: { ENVOY: envoy }, kills: false });
    else suite.skip('the shop with Envoy in every sidecar’s place', 'envoy', 'there is no envoy binary (sh test/setup installs it)');
  }
  if (wanted('rootless')) {
    const allowed =
      process.getuid?.() === 0 &&
      existsSync('/usr/bin/setpriv') &&
      spawnSync('setpriv', ['--reuid', String(NOBODY), '--clear-groups', 'unshare', '--user', '--map-root-user', '--net', 'true'])
        .status === 0;
    if (allowed) await shopChecks(suite, { title: 'rootless', port: 18082, up: [], uid: NOBODY, kills: false });
    else suite.skip('the shop as an unprivileged user', 'userns', 'unprivileged user namespaces are not allowed here');
  }
}
suite.finish();
