// `skein restart`: has sidecars and gateways replaced by successors of the installed version, without losing a connection.
// Over the stream that each agent holds to the control plane: nothing of a sidecar is opened for it.
import type { Command } from 'commander';
import { AdminClient, type AdminReply } from './admin-client.ts';
import { EXIT_FAILED, newCommand, runCommand, UsageError, withStateOption } from './command-line.ts';
import { print } from './output.ts';
import { findProxy } from './proxy-name.ts';
import type { ProxyEntry } from './proxy-status.ts';

interface Options {
  readonly namespace?: string;
  readonly all?: boolean;
  readonly state?: string;
}

interface RestartStatus {
  readonly state: string;
  readonly epoch: number;
  readonly pid: number;
  readonly reason: string;
}

/** The successor's own time to be ready, and a little. */
const WITHIN_MS = 70_000;
const POLL_MS = 200;

const program = (): Command =>
  withStateOption(newCommand('restart', 'Replace sidecars by fresh processes of the installed version; applications and connections stay.'))
    .argument('[name...]', 'proxies, as NAME or NAME.NAMESPACE')
    .option('--all', 'every connected proxy, one after the other')
    .option('-n, --namespace <name>', 'only this namespace')
    .addHelpText(
      'after',
      `
Examples:
  skein restart order-v1-0.production
  skein restart --all -n production

The successor is handed the listening sockets and takes over once it has its certificate and configuration; the process before
finishes its connections (at most --parent-shutdown-time-s) and ends. One that does not get there is given up: the old one
serves on, and the reason is printed. A real Envoy in a sidecar's place cannot be restarted this way.
Exit codes: 0 all were replaced, 1 one was not; 2 wrong usage; 3 no control plane is running.`,
    );

export const command = {
  name: 'restart',
  summary: 'replace sidecars by fresh processes without losing a connection',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (names, options: Options) => {
      const client = new AdminClient(options.state);
      const all = (await client.json('GET', '/v1/proxies')) as readonly ProxyEntry[];
      const known = all.filter((p) => options.namespace === undefined || p.namespace === options.namespace);
      if (names.length === 0 && options.all !== true) throw new UsageError('name a proxy, or give --all');
      const wanted = options.all === true ? known : names.map((name) => findProxy(known, name));
      if (wanted.length === 0) print('no proxy is connected\n');
      for (const proxy of wanted) {
        const said = await restart(client, proxy);
        if (!said.done) process.exitCode = EXIT_FAILED;
        print(`${proxy.name}.${proxy.namespace}: ${said.text}\n`);
      }
    }),
};

const restart = async (
  client: AdminClient,
  { namespace, name }: ProxyEntry,
): Promise<{ readonly done: boolean; readonly text: string }> => {
  const path = `/v1/proxies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}/admin/hot_restart`;
  const before = await client.call('POST', path);
  if (before.status === 404 && before.text.startsWith('invalid path'))
    return { done: false, text: 'this proxy is not one of ours: it cannot be replaced in place' };
  if (before.status !== 202) return { done: false, text: `not restarted: ${before.text.trim()}` };
  const { epoch } = read(before);
  const end = Date.now() + WITHIN_MS;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    // Between two processes nobody answers for a moment.
    const reply = await client.call('GET', path);
    if (reply.status !== 200) continue;
    const now = read(reply);
    if (now.epoch > epoch && now.state !== 'taking over') return { done: true, text: `restarted, process ${now.pid}` };
    if (now.state === 'failed') return { done: false, text: `not restarted: ${now.reason}` };
  }
  return { done: false, text: `no answer within ${WITHIN_MS / 1000} s` };
};

const read = ({ text }: AdminReply): RestartStatus => JSON.parse(text) as RestartStatus;
