// `skein proxy`: with `-c` the proxy alone, in the place of `envoy -c`; without, agent and proxy in one process. Only what
// the chosen mode needs is loaded: from start to ready there are 150 ms.

import { createLog, type Log, type LogLevel } from '../base/log.ts';
import type { ProxyServer } from '../proxy/bootstrap/proxy-server.ts';
import type { Bootstrap, CommandLineOptions } from '../xds/gen/types.ts';
import type { XdsTransport } from '../xds/transport.ts';
import { packageVersion } from './package-version.ts';
import { type ProxyFlags, parseProxyFlags, UsageError } from './proxy-flags.ts';

const SUMMARY = 'run a sidecar or gateway: agent and proxy, or `-c FILE` as Envoy';

export const command = {
  name: 'proxy',
  summary: SUMMARY,
  run: async (argv: readonly string[]): Promise<void> => {
    try {
      await runProxy(argv);
    } catch (e) {
      if (!(e instanceof UsageError)) throw e;
      process.stderr.write(`skein proxy: ${e.message}\nRun \`skein proxy --help\` for the options.\n`);
      process.exitCode = 2;
    }
  },
};

const runProxy = async (argv: readonly string[]): Promise<void> => {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(await helpText());
    return;
  }
  const alone = argv.some((a) => /^(?:-c|--config-path|--config-yaml|--version|--hot-restart-version)(?:=|$)/.test(a));
  if (alone) return runAlone(parseProxyFlags(argv));
  const { parseAgentFlags } = await import('../agent/agent-flags.ts');
  const { AgentConfigError } = await import('../agent/agent-config.ts');
  const parse = () => {
    try {
      return parseAgentFlags(argv, process.env, 'agent');
    } catch (e) {
      throw e instanceof AgentConfigError ? new UsageError(e.message) : e;
    }
  };
  const { config, rest } = parse();
  const flags = parseProxyFlags(rest);
  const log = await openLog(flags);
  const { startAgent } = await import('../agent/agent.ts');
  const agent = await startAgent(config, log.scope('agent'));
  // The names that the agent's bootstrap gives its own socket: in this process they need none.
  const transports = new Map([
    ['xds-grpc', agent.transports.ads],
    ['sds-grpc', agent.transports.sds],
  ]);
  await serve(agent.bootstrap, flags, log, transports, (server, stop) => {
    agent.setProxyStatus(() => (server.ready ? { ready: true } : { ready: false, reason: 'the first configuration is not in force yet' }));
    agent.onAdminRequest(async (request) => server.admin(request));
    agent.onQuit(stop);
    return () => agent.stop();
  });
};

const runAlone = async (flags: ProxyFlags): Promise<void> => {
  if (flags.version) {
    process.stdout.write(`skein  version: ${packageVersion()}\n`);
    return;
  }
  const log = await openLog(flags);
  const { readFile } = await import('node:fs/promises');
  const { loadBootstrap } = await import('../proxy/bootstrap/load-bootstrap.ts');
  const text = flags.configPath === undefined ? undefined : await readFile(flags.configPath, 'utf8');
  const { bootstrap, inert } = await loadBootstrap(text, flags.configYaml);
  if (inert.length > 0) log.info('parts of the bootstrap change nothing here', { fields: inert.join(' ') });
  if (flags.mode === 'validate') {
    const { validateBootstrap } = await import('../proxy/bootstrap/validate.ts');
    await validateBootstrap(bootstrap, log);
    process.stdout.write(`configuration '${flags.configPath ?? ''}' OK\n`);
    return;
  }
  await serve(bootstrap, flags, log, new Map(), () => async () => undefined);
};

/** Runs until a signal or `/quitquitquit`. `attach` ties the agent to the proxy and answers how to stop it. */
const serve = async (
  bootstrap: Bootstrap,
  flags: ProxyFlags,
  log: Log,
  transports: ReadonlyMap<string, XdsTransport>,
  attach: (server: ProxyServer, stop: () => void) => () => Promise<void>,
): Promise<void> => {
  const { ProxyServer } = await import('../proxy/bootstrap/proxy-server.ts');
  const { kernelOriginalDestination } = await import('../proxy/original-destination.ts');
  const stopAsked = Promise.withResolvers<void>();
  // Before anything listens: a stop during the start drains too.
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(1);
      stopAsked.resolve();
    });
  }
  const server: ProxyServer = new ProxyServer({
    bootstrap,
    log,
    version: packageVersion(),
    transports,
    node: { id: flags.serviceNode, cluster: flags.serviceCluster },
    commandLine: commandLineOf(flags),
    logFlushMs: flags.logFlushMs,
    rejectUnknownFields: flags.rejectUnknownDynamicFields,
    originalDestination: kernelOriginalDestination,
    quit: () => stopAsked.resolve(),
  });
  const detach = attach(server, () => stopAsked.resolve());
  await server.start();
  if (flags.adminAddressPath !== undefined && server.adminAddress !== undefined) {
    const { writeFile } = await import('node:fs/promises');
    await writeFile(flags.adminAddressPath, server.adminAddress);
  }
  void server.whenLive().then(() => log.info('ready', { ms: Math.round(performance.now()) }));
  process.on('SIGUSR1', () => server.admin({ method: 'POST', path: '/reopen_logs', body: '' }));
  if (flags.mode === 'init_only') {
    await server.whenLive();
    stopAsked.resolve();
  }
  await stopAsked.promise;
  log.info('draining', { connections: server.activeConnections() });
  await server.drain(Math.min(flags.drainTimeS, terminationDrainS()) * 1000);
  await server.close();
  await detach();
  process.exit(0);
};

/** Istio's terminationDrainDuration and its variable. */
const terminationDrainS = (): number => {
  const given = Number(process.env['TERMINATION_DRAIN_DURATION_SECONDS'] ?? 5);
  return Number.isFinite(given) && given >= 0 ? given : 5;
};

const commandLineOf = (flags: ProxyFlags): CommandLineOptions => ({
  base_id: flags.baseId,
  concurrency: flags.concurrency,
  config_path: flags.configPath,
  config_yaml: flags.configYaml,
  log_level: flags.logLevel,
  log_path: flags.logPath,
  service_cluster: flags.serviceCluster,
  service_node: flags.serviceNode,
  admin_address_path: flags.adminAddressPath,
  drain_time: `${flags.drainTimeS}s`,
});

const openLog = async (flags: ProxyFlags): Promise<Log> => {
  const level: { value: LogLevel } = { value: levelOf(flags.logLevel) };
  let write = (line: string): void => void process.stderr.write(line);
  if (flags.logPath !== undefined) {
    const { openSync, writeSync } = await import('node:fs');
    const fd = openSync(flags.logPath, 'a', 0o600);
    write = (line) => void writeSync(fd, line);
  }
  return createLog('skein', write, () => new Date(), level);
};

const levelOf = (name: string): LogLevel => {
  if (name === 'trace' || name === 'debug') return 'debug';
  if (name === 'warn' || name === 'warning') return 'warning';
  if (name === 'error' || name === 'critical') return 'error';
  return name === 'off' ? 'off' : 'info';
};

const helpText = async (): Promise<string> => {
  const { agentFlagsHelp } = await import('../agent/agent-flags.ts');
  return `${[
    'Usage: skein proxy -c FILE [OPTIONS]      run a bootstrap, in the place of `envoy -c FILE`',
    '       skein proxy --xds ADDRESS [OPTIONS]  run agent and proxy of one workload',
    '',
    'Options of both (other flags of Envoy are accepted and change nothing):',
    '  -c, --config-path FILE        Envoy bootstrap, JSON or YAML',
    '  --config-yaml TEXT            bootstrap text, merged over the file',
    '  --mode MODE                   serve (default), validate or init_only',
    '  -l, --log-level LEVEL         trace, debug, info (default), warning, error, critical or off',
    '  --log-path FILE               process log (default: standard error)',
    '  --service-node ID             node id, over the file’s',
    '  --service-cluster NAME        node cluster, over the file’s',
    '  --drain-time-s SECONDS        longest wait for open connections at a stop (at most 5)',
    '  --admin-address-path FILE     write the admin address here once it is bound',
    '  --reject-unknown-dynamic-fields  refuse xDS resources with fields that are not known',
    '',
    'Options of the agent:',
    agentFlagsHelp(),
    '',
    'Examples:',
    '  skein proxy -c envoy.yaml --mode validate',
    '  skein proxy --name web-0 --namespace production --service-account web --ip 10.244.0.5 \\',
    '    --xds unix:/run/skein/xds.sock --token-fd 3 --run-dir /run/skein/web-0',
    '',
    'SIGTERM drains: no new connections, at most the drain time for those that are open. A second one ends at once.',
    'Exit codes: 0 stopped, 1 could not start, 2 wrong usage.',
    '',
  ].join('\n')}`;
};
