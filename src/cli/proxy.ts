// `skein proxy`: with `-c` the proxy alone, in the place of `envoy -c`; without, agent and proxy in one process. Only what
// the chosen mode needs is loaded: from start to ready there are 150 ms.

import { createLog, type Log, type LogLevel } from '../base/log.ts';
import type { Heir } from '../proxy/bootstrap/handover.ts';
import { ListeningSockets } from '../proxy/listener/listening-sockets.ts';
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
  const heir = await inheritance();
  const parse = () => {
    try {
      const { config, rest } = parseAgentFlags(heir === undefined ? argv : withoutTokenFd(argv), process.env, 'agent');
      const token = heir?.handover.token;
      return { config: token === undefined ? config : { ...config, token: () => token }, rest };
    } catch (e) {
      throw e instanceof AgentConfigError ? new UsageError(e.message) : e;
    }
  };
  const { config, rest } = parse();
  const flags = parseProxyFlags(rest);
  const log = await openLog(flags);
  const sockets = await listeningSockets(heir, log);
  const { startAgent } = await import('../agent/agent.ts');
  const agent = await startAgent(config, log.scope('agent'), { sockets, standby: heir !== undefined });
  // The names that the agent's bootstrap gives its own socket: in this process they need none.
  const transports = new Map([
    ['xds-grpc', agent.transports.ads],
    ['sds-grpc', agent.transports.sds],
  ]);
  const { serve } = await import('./proxy-serve.ts');
  await serve({
    bootstrap: agent.bootstrap,
    flags,
    drainTimeS: AGENT_DRAIN_TIME_S,
    log,
    transports,
    summaries: config.summaries === true ? agent.transports.telemetry : undefined,
    sockets,
    heir,
    // A token in a file is read again by whoever comes next.
    token: () => (argv.some((a) => /^--token-fd(?:=|$)/.test(a)) ? config.token() : undefined),
    attach: (server, stop) => {
      agent.setProxyStatus(() =>
        server.ready ? { ready: true } : { ready: false, reason: 'the first configuration is not in force yet' },
      );
      agent.onAdminRequest((request) => server.admin(request));
      agent.onQuit(stop);
      return agent;
    },
  });
};

/** Istio's drainDuration. */
const AGENT_DRAIN_TIME_S = 45;
/** Envoy's. */
const DRAIN_TIME_S = 600;

/** What the process before hands down, if there is one. */
const inheritance = async (): Promise<Heir | undefined> => {
  if (process.env['SKEIN_HANDOVER'] === undefined) return undefined;
  const { receiveHandover } = await import('../proxy/bootstrap/handover.ts');
  return await receiveHandover();
};

/** Its token came over the channel: the descriptor of that number is another one by now. */
const withoutTokenFd = (argv: readonly string[]): readonly string[] =>
  argv.filter((a, i) => a !== '--token-fd' && argv[i - 1] !== '--token-fd' && !a.startsWith('--token-fd='));

const listeningSockets = async (heir: Heir | undefined, log: Log): Promise<ListeningSockets> => {
  if (heir !== undefined) return new ListeningSockets(heir.handover.sockets);
  if (process.env['LISTEN_FDS'] === undefined) return new ListeningSockets();
  const { activationSockets } = await import('../proxy/bootstrap/activation-sockets.ts');
  const { sockets, unusable } = activationSockets(process.env, process.pid);
  for (const fd of unusable) log.warning('a descriptor that was handed down is no listening socket', { fd });
  return new ListeningSockets(sockets);
};

const runAlone = async (flags: ProxyFlags): Promise<void> => {
  if (flags.version) {
    process.stdout.write(`skein  version: ${packageVersion()}\n`);
    return;
  }
  const log = await openLog(flags);
  const { readFile } = await import('node:fs/promises');
  const { loadBootstrap } = await import('../proxy/bootstrap/load-bootstrap.ts');
  const { overloadConfig } = await import('../proxy/bootstrap/overload-config.ts');
  const text = flags.configPath === undefined ? undefined : await readFile(flags.configPath, 'utf8');
  const { bootstrap, inert: alsoInert, overload: manager } = await loadBootstrap(text, flags.configYaml);
  const unknown = new Set<string>();
  const overload = overloadConfig(manager, bootstrap, unknown);
  const inert = [...alsoInert, ...unknown];
  if (inert.length > 0) log.info('parts of the bootstrap change nothing here', { fields: inert.join(' ') });
  if (flags.mode === 'validate') {
    const { validateBootstrap } = await import('../proxy/bootstrap/validate.ts');
    await validateBootstrap(bootstrap, log);
    process.stdout.write(`configuration '${flags.configPath ?? ''}' OK\n`);
    return;
  }
  const heir = await inheritance();
  const sockets = await listeningSockets(heir, log);
  const { serve } = await import('./proxy-serve.ts');
  const nothing = async (): Promise<void> => undefined;
  await serve({
    bootstrap,
    overload,
    flags,
    drainTimeS: DRAIN_TIME_S,
    log,
    transports: new Map(),
    sockets,
    heir,
    token: () => undefined,
    attach: () => ({ notReady: () => '', open: nothing, takeOver: () => undefined, release: () => undefined, stop: nothing }),
  });
};

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
    '       skein proxy log-level PROXY [LEVEL]  show or set what a running sidecar logs (--help of its own)',
    '',
    'Options of both (other flags of Envoy are accepted and change nothing):',
    '  -c, --config-path FILE        Envoy bootstrap, JSON or YAML',
    '  --config-yaml TEXT            bootstrap text, merged over the file',
    '  --mode MODE                   serve (default), validate or init_only',
    '  -l, --log-level LEVEL         trace, debug, info (default), warning, error, critical or off',
    '  --log-path FILE               process log (default: standard error)',
    '  --service-node ID             node id, over the file’s',
    '  --service-cluster NAME        node cluster, over the file’s',
    '  --concurrency N               workers that serve (default 1; 0: 1); limits and metrics hold for all together',
    '  --drain-time-s SECONDS        how long connections of a changed or removed listener live on (default 600, with an agent 45)',
    '  --drain-strategy STRATEGY     immediate (default) or gradual: when such connections are asked to leave',
    '  --parent-shutdown-time-s SECONDS  how long connections live on after a hot restart (default 900)',
    '  --disable-hot-restart         SIGUSR2 and POST /hot_restart are refused',
    '  --notify-fd N                 descriptor on which a supervisor is told of a new main process (MAINPID=…)',
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
    'SIGUSR2 restarts without losing a connection: a successor is started with the same command line, is handed the listening',
    'sockets, and takes over once it is ready; this process finishes its connections and ends. Listening sockets that systemd',
    'hands down (LISTEN_FDS) are taken by address, then by name.',
    'SIGTERM drains: no new connections, at most the drain time for those that are open. A second one ends at once.',
    'Exit codes: 0 stopped, 1 could not start, 2 wrong usage.',
    '',
  ].join('\n')}`;
};
