// npm run test:security [-- --short] [--only LINE] [--proxy skein|envoy] [--seconds N]: what the mesh's security is held to, one row a check. What this
// machine cannot run is named, never counted as passed.
import { parseArgs } from 'node:util';
import { envoyBinary } from '../conformance/proxies.ts';
import { removeAll } from '../integration/mesh.ts';
import type { Checks, ProxyKind, SecurityCheck } from './check.ts';
import { missing } from './machine.ts';
import { checksOf } from './modules.ts';
import { Rows } from './rows.ts';
import { Stage } from './stage.ts';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean' },
    only: { type: 'string' },
    proxy: { type: 'string' },
    seconds: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(`npm run test:security [-- OPTIONS]
  --short          at most 3 minutes: shorter runs, and what takes long is left out by name
  --only LINE      checks of this line only, 1 to 7; or checks whose name has this text
  --proxy KIND     live checks with one kind of sidecar only: skein or envoy
  --seconds N      how long identities rotate under load, 30 to 86400; below 300 lives and rate are those of --short.
                   --seconds 60 --only 'under load' shows that it works; without it: 600
`);
  process.exit(0);
}
if (values.proxy !== undefined && values.proxy !== 'skein' && values.proxy !== 'envoy') {
  process.stderr.write(`--proxy is skein or envoy, not ${values.proxy}\n`);
  process.exit(2);
}
if (values.seconds !== undefined && !(/^\d+$/.test(values.seconds) && Number(values.seconds) >= 30 && Number(values.seconds) <= 86_400)) {
  process.stderr.write(`--seconds is a number from 30 to 86400, not ${values.seconds}\n`);
  process.exit(2);
}
const short = values.short === true;
const proxies: readonly ProxyKind[] = values.proxy === undefined ? ['skein', 'envoy'] : [values.proxy];
const stage = new Stage({
  short,
  proxies,
  envoy: envoyBinary(),
  ...(values.seconds === undefined ? {} : { loadSeconds: Number(values.seconds) }),
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    removeAll();
    process.exit(130);
  });

const isWanted = ({ line, name, proxy }: SecurityCheck): boolean => {
  if (proxy !== undefined && !proxies.includes(proxy)) return false;
  if (values.only === undefined) return true;
  return /^\d$/.test(values.only) ? line === Number(values.only) : name.includes(values.only);
};
// Rows of one kind of sidecar stand together: the shop starts once for each.
const order = ({ line, proxy, ownMesh }: SecurityCheck): number =>
  ['', 'skein', 'envoy'].indexOf(proxy ?? '') * 20 + (ownMesh === true ? 10 : 0) + line;
const wanted = [...checksOf()]
  .flatMap((checks: Checks) => [...checks(stage)])
  .filter(isWanted)
  .sort((a, b) => order(a) - order(b));

const machine = { short, envoy: stage.envoy };
const rows = new Rows();
try {
  for (const check of wanted) {
    const lacks = check.needs.find((need) => missing(need, machine) !== undefined);
    if (check.ownMesh === true) stage.stopShop();
    if (lacks === undefined) await rows.run(check);
    else rows.notRun(check, lacks, missing(lacks, machine) ?? '');
  }
} finally {
  await stage.end();
}
process.exit(rows.finish());
