// `skein agent [flags] -- envoy [args…]`: the agent beside a real Envoy, which runs as its child.

import { adminOverHttp } from '../agent/admin-client.ts';
import { startAgent } from '../agent/agent.ts';
import { AgentConfigError } from '../agent/agent-config.ts';
import { agentFlagsHelp, parseAgentFlags } from '../agent/agent-flags.ts';
import { EnvoyProcess } from '../agent/envoy-process.ts';
import { createLog } from '../base/log.ts';

const DRAIN_TIME_S = 45;
const DRAIN_WAIT_S = 5;

const help = (): string =>
  [
    'Usage: skein agent [OPTIONS] -- envoy [ENVOY OPTIONS]',
    '',
    'Runs the node agent (identity, SDS, ADS relay, DNS, readiness) and the given Envoy under it. The bootstrap is made by',
    'the agent: do not give -c. SIGTERM drains Envoy, waits for its connections and stops it.',
    '',
    'Options:',
    agentFlagsHelp(),
    '  --drain-wait SECONDS      longest wait for open connections at a stop (default 5)',
    '',
    'Examples:',
    '  skein agent --name web-0 --namespace production --service-account web --ip 10.244.0.5 \\',
    '    --xds unix:/run/skein/xds.sock --token-file /run/skein/token --run-dir /run/skein/web-0 -- envoy -l info',
    '',
    'Exit codes: 0 stopped by a signal or /quitquitquit, 1 could not start, 2 wrong usage.',
    '',
  ].join('\n');

export const command = {
  name: 'agent',
  summary: 'run the agent beside a proxy of your choice: `agent … -- envoy`',
  run: async (argv: readonly string[]): Promise<void> => {
    const [first] = argv;
    if (first === '--help' || first === '-h') {
      process.stdout.write(help());
      return;
    }
    try {
      await runAgent(argv);
    } catch (e) {
      if (!(e instanceof AgentConfigError)) throw e;
      process.stderr.write(`skein agent: ${e.message}\nRun \`skein agent --help\` for the options.\n`);
      process.exitCode = 2;
    }
  },
};

const runAgent = async (argv: readonly string[]): Promise<void> => {
  const { config, rest, command: envoy } = parseAgentFlags(argv, process.env, 'proxy');
  const drainWaitS = drainWait(rest);
  if (!envoy || envoy.length === 0) throw new AgentConfigError('the proxy is missing: … -- envoy [args]');
  const bad = envoy.find((a) => /^(?:-c|--config-path|--config-yaml)(?:=|$)/.test(a));
  if (bad !== undefined) throw new AgentConfigError(`${bad}: the bootstrap is made by the agent`);
  const log = createLog(
    'agent',
    (line) => process.stderr.write(line),
    () => new Date(),
  );
  const stopAsked = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stopAsked.resolve());
  const agent = await startAgent(config, log);
  agent.onQuit(() => stopAsked.resolve());
  const admin = adminOverHttp(config.adminPort);
  // As it is for the proxy in a process of ours.
  process.on('SIGUSR1', () => {
    admin({ method: 'POST', path: '/reopen_logs', body: '' }).catch((problem: unknown) =>
      log.error('logs are not opened anew', { problem: problem instanceof Error ? problem.message : String(problem) }),
    );
  });
  const child = new EnvoyProcess({
    command: envoy,
    bootstrap: agent.bootstrap,
    runDir: config.runDir,
    drainTimeS: DRAIN_TIME_S,
    drainWaitMs: drainWaitS * 1000,
    ownPorts: [config.statusPort, config.prometheusPort],
    admin,
    log: log.scope('envoy'),
  });
  await child.start();
  await stopAsked.promise;
  // The secrets and the relay stay until Envoy is gone: it serves its last requests with them.
  await child.stop();
  await agent.stop();
  process.exit(0);
};

const drainWait = (rest: readonly string[]): number => {
  const [flag, value, ...more] = rest.flatMap((a) =>
    a.startsWith('--drain-wait=') ? ['--drain-wait', a.slice('--drain-wait='.length)] : [a],
  );
  if (flag === undefined) return DRAIN_WAIT_S;
  if (flag !== '--drain-wait' || more.length > 0) throw new AgentConfigError(`unknown option ${flag === '--drain-wait' ? more[0] : flag}`);
  if (value === undefined || !/^\d{1,4}$/.test(value))
    throw new AgentConfigError(`--drain-wait: "${value ?? ''}" is not a number of seconds`);
  return Number(value);
};
