// The entrance of `skein`: finds the command and loads only its file, so that a sidecar starts without the rest.

interface Command {
  readonly name: string;
  readonly summary: string;
  run(argv: readonly string[]): Promise<void>;
}
interface Entry {
  readonly summary: string;
  load(): Promise<{ readonly command: Command }>;
}

/** Every command, in the order that `--help` lists them. */
const COMMANDS: { readonly [name: string]: Entry } = {
  up: { summary: 'run a mesh from a directory: control plane, sidecars, applications', load: () => import('./up.ts') },
  down: { summary: 'stop a running mesh and leave nothing behind', load: () => import('./down.ts') },
  status: { summary: 'show the control plane, the workloads and every problem', load: () => import('./status.ts') },
  apply: { summary: 'store configuration from files, folders or standard input', load: () => import('./apply.ts') },
  validate: { summary: 'check configuration in files without a control plane', load: () => import('./validate.ts') },
  get: { summary: 'print stored and watched configuration objects', load: () => import('./get.ts') },
  delete: { summary: 'remove applied configuration objects', load: () => import('./delete.ts') },
  top: { summary: 'show what is busy, what fails and what is slow, now', load: () => import('./top.ts') },
  stat: { summary: 'show golden signals of workloads, services and routes', load: () => import('./stat.ts') },
  edges: { summary: 'show who calls whom, over mutual TLS or not', load: () => import('./edges.ts') },
  tap: { summary: 'show requests as they end, live', load: () => import('./tap.ts') },
  trace: { summary: "show one request's way through the mesh as a waterfall", load: () => import('./trace.ts') },
  logs: { summary: "print a workload's application or sidecar log", load: () => import('./logs.ts') },
  explain: { summary: 'say why a request ended as it did, or what a response flag means', load: () => import('./explain.ts') },
  authz: { summary: 'ask whether a request would be let in, and which rule decides', load: () => import('./authz.ts') },
  audit: { summary: 'show what was changed and who was refused; verify that the record is whole', load: () => import('./audit.ts') },
  exec: { summary: "run a command inside a workload's network", load: () => import('./exec.ts') },
  'proxy-status': { summary: 'show what each sidecar was sent and has accepted', load: () => import('./proxy-status.ts') },
  'proxy-config': {
    summary: "print a sidecar's listeners, routes, clusters, endpoints or secrets",
    load: () => import('./proxy-config.ts'),
  },
  ca: { summary: 'show the certificate authority, replace its root, or end trust in a root', load: () => import('./ca.ts') },
  check: { summary: 'say whether a certificate is about to end or something is not well', load: () => import('./check.ts') },
  mtls: { summary: 'show which calls are in plain text and who would break under STRICT', load: () => import('./mtls.ts') },
  restart: { summary: 'replace sidecars by fresh processes without losing a connection', load: () => import('./restart.ts') },
  token: { summary: 'create, list and revoke tokens for machines that join and for the admin API', load: () => import('./token.ts') },
  version: { summary: 'print the versions of the command and the control plane', load: () => import('./version.ts') },
  'control-plane': { summary: 'run the control plane', load: () => import('./control-plane.ts') },
  proxy: { summary: 'run a sidecar or gateway: agent and proxy, or `-c FILE` as Envoy', load: () => import('./proxy.ts') },
  agent: { summary: 'run the agent beside a proxy of your choice: `agent … -- envoy`', load: () => import('./agent.ts') },
  prometheus: { summary: "give Prometheus the mesh's metrics: targets, configuration, a way in", load: () => import('./prometheus.ts') },
  ratelimit: { summary: 'run the shared rate-limit server over Redis', load: () => import('./ratelimit.ts') },
  capture: { summary: 'program or show traffic redirection in this network namespace', load: () => import('./capture.ts') },
};

/** What `skein proxy` itself must not load. */
const PROXY_CLIENTS: { readonly [name: string]: Entry } = {
  'log-level': { summary: 'show or set what a running sidecar logs', load: () => import('./proxy-log-level.ts') },
};

const SERVERS: ReadonlySet<string> = new Set(['up', 'control-plane', 'proxy', 'agent', 'ratelimit', 'prometheus']);

const usage = (): string => {
  const width = Math.max(...Object.keys(COMMANDS).map((n) => n.length)) + 2;
  const rows = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}${summary}`);
  return [
    'Usage: skein COMMAND [OPTIONS]',
    '',
    'A service mesh that speaks Istio’s API and Envoy’s xDS.',
    '',
    'Commands:',
    ...rows,
    '',
    'Examples:',
    '  skein up examples/shop                  run the example shop with sidecars',
    '  skein apply -f canary.yaml              shift traffic',
    '  skein proxy-config routes order-v1-0    see what a sidecar decides from',
    '',
    'Run `skein COMMAND --help` for its options, examples and exit codes.',
    'Exit codes: 0 success, 1 refused or failed, 2 wrong usage, 3 no control plane is running.',
    '',
  ].join('\n');
};

const main = async (): Promise<void> => {
  const [name, ...rest] = process.argv.slice(2);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(usage());
    process.exitCode = name === undefined ? 2 : 0;
    return;
  }
  const alias = name === '--version' || name === '-V' ? 'version' : name;
  const client = alias === 'proxy' && Object.hasOwn(PROXY_CLIENTS, rest[0] ?? '') ? PROXY_CLIENTS[rest[0] ?? ''] : undefined;
  const argv = client === undefined ? rest : rest.slice(1);
  const entry = client ?? (Object.hasOwn(COMMANDS, alias) ? COMMANDS[alias] : undefined);
  if (!entry) {
    process.stderr.write(`skein: there is no command "${name}". Run \`skein --help\` for the list.\n`);
    process.exitCode = 2;
    return;
  }
  // A reader that goes away (`skein get vs | head`) ends a command without a word, but never a server.
  if (client !== undefined || !SERVERS.has(alias)) {
    process.stdout.on('error', (error) => {
      if (readerGone(error)) process.exit(0);
      throw error;
    });
  }
  const { command } = await entry.load();
  await command.run(argv);
};

const readerGone = (error: unknown): boolean => (error as NodeJS.ErrnoException | undefined)?.code === 'EPIPE';
main().catch((error: unknown) => {
  if (readerGone(error)) process.exit(0);
  process.stderr.write(`skein: ${error instanceof Error ? error.message : String(error)}\n`);
  if (process.env['SKEIN_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
