// npm run test:integration [-- --proxy skein|envoy|rootless|networks|traces] [--only PATTERN]: the shop as a user runs it, on real namespaces.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { envoyBinary } from '../conformance/proxies.ts';
import { ROOT, removeAll } from './mesh.ts';
import { networkChecks } from './network-checks.ts';
import { type Kind, shopChecks } from './shop-checks.ts';
import { Suite } from './suite.ts';
import { traceChecks } from './trace-checks.ts';

const NOBODY = 65_534;

const { values } = parseArgs({ options: { proxy: { type: 'string' }, only: { type: 'string' } } });
const suite = new Suite(values.only);
const isRoot = process.getuid?.() === 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    removeAll();
    process.exit(130);
  });

const succeeds = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;

/** Undefined when it can run; else why not. */
const whyNoRootless = (): string | undefined => {
  const asNobody = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
  if (!succeeds('setpriv', ...asNobody, 'true')) return 'there is no setpriv to become another user with';
  if (!succeeds('setpriv', ...asNobody, 'unshare', '--user', '--map-root-user', '--net', 'true'))
    return 'unprivileged user namespaces are not allowed here';
  if (!succeeds('setpriv', ...asNobody, join(ROOT, 'bin/skein'), 'version'))
    return `another user cannot run ${ROOT}/bin/skein: the checkout lies in a folder that only its owner may read`;
  return undefined;
};

const kinds: readonly { readonly kind: Kind; readonly needs: string; readonly whyNot: () => string | undefined }[] = [
  { kind: { title: 'skein', port: 18080, up: [], parts: 'all' }, needs: 'namespaces', whyNot: () => undefined },
  {
    kind: { title: 'envoy', port: 18081, up: ['--proxy', 'envoy'], parts: 'envoy', env: { ENVOY: envoyBinary() ?? '' } },
    needs: 'envoy',
    whyNot: () => (envoyBinary() === undefined ? 'there is no envoy binary (sh test/setup installs it)' : undefined),
  },
  {
    // Started by somebody who is not root, all kinds are rootless.
    kind: { title: 'rootless', port: 18082, up: [], parts: 'base', ...(isRoot ? { uid: NOBODY } : {}) },
    needs: 'userns',
    whyNot: () => (isRoot ? whyNoRootless() : undefined),
  },
];

const namespaces = isRoot ? succeeds('unshare', '--net', 'true') : succeeds('unshare', '--user', '--map-root-user', '--net', 'true');
for (const { kind, needs, whyNot } of kinds) {
  if (values.proxy !== undefined && values.proxy !== kind.title) continue;
  const reason = namespaces ? whyNot() : 'this machine forbids network namespaces';
  if (reason === undefined) await shopChecks(suite, kind);
  else suite.skip(`the shop, ${kind.title}`, namespaces ? needs : 'namespaces', reason);
}
if (values.proxy === undefined || values.proxy === 'networks') {
  if (isRoot && namespaces) await networkChecks(suite, envoyBinary(), (name) => `networks: ${name}`);
  else suite.skip('two networks', 'namespaces', 'only root may make their namespaces and routes');
}
if (values.proxy === undefined || values.proxy === 'traces') {
  if (namespaces) await traceChecks(suite);
  else suite.skip('traces', 'namespaces', 'this machine forbids network namespaces');
}
suite.finish();
