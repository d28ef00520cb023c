// `skein proxy-status`: what each proxy was sent, has accepted and has refused, per type.
import type { Command } from 'commander';
import { AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';
import { findProxy } from './proxy-name.ts';

interface Options {
  readonly namespace?: string;
  readonly output: string;
  readonly state?: string;
}

interface TypeStatus {
  readonly state: string;
  readonly version: string;
  readonly ackedVersion: string;
  readonly nack?: { readonly message: string; readonly version: string };
}

export interface ProxyEntry {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly proxy: string;
  readonly connectedAt: string;
  readonly types: { readonly [type: string]: TypeStatus };
}

const COLUMNS = ['CDS', 'LDS', 'EDS', 'RDS'] as const;

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('proxy-status', 'Show what each proxy was sent and has accepted.')))
    .argument('[name]', 'one proxy, as NAME or NAME.NAMESPACE')
    .option('-n, --namespace <name>', 'only this namespace')
    .addHelpText(
      'after',
      `
Examples:
  skein proxy-status
  skein proxy-status order-v1-0.production -o json

States: SYNCED accepted, STALE sent and not yet answered, NACK refused (the reason is printed below), NOT SENT not asked for or nothing to send.
Exit codes: 0 no proxy has refused its configuration, 1 one has, or the named proxy is not connected; 2 wrong usage; 3 no control plane is running.`,
    );

export const command = {
  name: 'proxy-status',
  summary: 'show what each sidecar was sent and has accepted',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([name], options: Options) => {
      const format = outputFormat(options.output);
      const all = (await new AdminClient(options.state).json('GET', '/v1/proxies')) as readonly ProxyEntry[];
      const inNamespace = all.filter((p) => options.namespace === undefined || p.namespace === options.namespace);
      const proxies = name === undefined ? inNamespace : [findProxy(inNamespace, name)];
      print(format === 'table' ? statusTable(proxies) : structured(proxies, format));
      if (proxies.some((p) => Object.values(p.types).some((t) => t.state === 'NACK'))) process.exitCode = EXIT_FAILED;
    }),
};

const statusTable = (proxies: readonly ProxyEntry[]): string => {
  const rows = proxies.map((p) => [`${p.name}.${p.namespace}`, ...COLUMNS.map((type) => p.types[type]?.state ?? 'NOT SENT'), p.proxy]);
  const nacks = proxies.flatMap((p) =>
    Object.entries(p.types).flatMap(([type, { nack }]) =>
      nack ? [`${p.name}.${p.namespace} refused ${type} version ${nack.version}: ${nack.message}\n`] : [],
    ),
  );
  return table(['NAME', ...COLUMNS, 'PROXY'], rows) + (nacks.length === 0 ? '' : `\n${nacks.join('')}`);
};
