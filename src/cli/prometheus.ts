// `skein prometheus`: what a Prometheus needs to scrape the mesh: its configuration, the list of targets, and, where the sidecars are in
// namespaces of their own (`skein up`), a way to them from the host.
import { resolve } from 'node:path';
import { type MetricsTarget, startMetricsDoor } from '../local/metrics-door.ts';
import { ask } from '../local/relay-protocol.ts';
import { stateFolder, statePaths } from '../local/state.ts';
import { AdminCallError, AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';
import { directConfig, doorConfig, type ScrapeSettings } from './prometheus-config.ts';

interface Options {
  readonly output: string;
  readonly state?: string;
  readonly listen: string;
  readonly interval: string;
  readonly rules: readonly string[];
  readonly admin?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

const program = () =>
  withOutputOption(
    withStateOption(newCommand('prometheus', "Give Prometheus the mesh's metrics: a way in, its configuration, its targets.")),
  )
    .argument('<what>', 'serve, config or targets')
    .option('--listen <host:port>', 'serve: where Prometheus comes; config: where it finds serve', '127.0.0.1:9464')
    .option('--interval <duration>', 'config: how often it scrapes', '15s')
    .option('--rules <file>', 'config: rules that it loads; may be repeated', collect, [])
    .option('--admin <url>', 'config: without serve, by the admin API at this address (--admin-port of the control plane)')
    .option('--token-file <file>', 'config with --admin: file with an admin token of role read')
    .option('--ca-file <file>', "config with --admin: roots (PEM) of the admin API's certificate")
    .addHelpText(
      'after',
      `
Examples:
  skein prometheus serve &                                   a way in for the mesh that \`skein up\` runs here
  skein prometheus config --rules rules.yaml > prometheus.yaml
  prometheus --config.file prometheus.yaml                   from Debian's package, or any other
  skein prometheus targets -o json                           the list, as Prometheus' http_sd and file_sd take it
  skein prometheus config --admin https://istiod:15014 --token-file /etc/skein/token --ca-file /etc/skein/root.pem

serve carries GETs of sidecars' metrics and nothing else. config with --admin is for a Prometheus that reaches the workloads itself.
Exit codes: 0 printed or ended, 1 failed, 2 wrong usage, 3 no control plane is running.`,
    );

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export const command = {
  name: 'prometheus',
  summary: "give Prometheus the mesh's metrics: targets, configuration, a way in",
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([what, ...rest], options: Options) => {
      if (rest.length > 0) throw new UsageError(`prometheus ${what} takes no ${JSON.stringify(rest[0])}`);
      if (what === 'serve') await serve(options);
      else if (what === 'config') config(options);
      else if (what === 'targets') await targets(options);
      else throw new UsageError(`prometheus knows serve, config and targets, not ${JSON.stringify(what)}`);
    }),
};

const settingsOf = ({ interval, rules }: Options): ScrapeSettings => {
  if (!/^(?:\d+(?:ms|[smhd]))+$/.test(interval))
    throw new UsageError(`--interval ${interval}: a duration as Prometheus writes it: 15s, 1m`);
  return { interval, rules: rules.map((file) => resolve(file)) };
};

const config = (options: Options): void => {
  const { admin, tokenFile, caFile, listen, output } = options;
  const settings = settingsOf(options);
  const format = outputFormat(output) === 'json' ? 'json' : 'yaml';
  if (admin === undefined) {
    if (tokenFile !== undefined || caFile !== undefined) throw new UsageError('--token-file and --ca-file go with --admin');
    listenAddress(listen);
    print(structured(doorConfig(listen, settings), format));
    return;
  }
  const url = URL.parse(admin);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) throw new UsageError(`--admin ${admin}: https://HOST:PORT`);
  if (tokenFile === undefined) throw new UsageError('--admin needs --token-file: skein token create --role read');
  print(structured(directConfig({ url, tokenFile: resolve(tokenFile), caFile: caFile && resolve(caFile) }, settings), format));
};

const listenAddress = (text: string): { readonly host: string; readonly port: number } => {
  const [, bracketed, plain, port = ''] = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) > 65_535) throw new UsageError(`--listen ${text}: HOST:PORT`);
  return { host, port: Number(port) };
};

const targets = async (options: Options): Promise<void> => {
  const format = outputFormat(options.output);
  const list = await listOf(new AdminClient(options.state));
  if (format !== 'table') print(structured(list, format));
  else {
    const rows = list.map(({ targets: at, labels }) => [labels['pod'] ?? '', labels['namespace'] ?? '', at.join(' ')]);
    print(table(['REPLICA', 'NAMESPACE', 'TARGET'], rows));
  }
};

const listOf = async (admin: AdminClient): Promise<readonly MetricsTarget[]> => {
  const list = await admin.json('GET', '/v1/prometheus/targets');
  if (!Array.isArray(list)) throw new AdminCallError(502, 'BAD_REPLY', 'the control plane answered without a list of targets', []);
  return list as readonly MetricsTarget[];
};

const serve = async ({ listen, state }: Options): Promise<void> => {
  const { host, port } = listenAddress(listen);
  const admin = new AdminClient(state);
  const { hubSocket } = statePaths(stateFolder(state, process.env));
  await listOf(admin); // there is a mesh, or this ends
  const options = {
    targets: () => listOf(admin),
    controlPlaneMetrics: async () => {
      const { status, text } = await admin.call('GET', '/metrics');
      if (status !== 200) throw new Error(`the control plane answered ${status}`);
      return text;
    },
    connect: (address: string, at: number) => ask(hubSocket, { op: 'connect', host: address, port: at }),
    log: (message: string) => process.stderr.write(`skein prometheus: ${message}\n`),
  };
  try {
    const door = await startMetricsDoor(options, host, port);
    print(`serving the mesh's metrics on http://${host.includes(':') ? `[${host}]` : host}:${door.port}\n`);
    await new Promise<void>((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
    });
    await door.close();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    process.stderr.write(`skein prometheus: cannot listen on ${listen}: ${code ?? message}\n`);
    process.exitCode = EXIT_FAILED;
  }
};
