// `skein token`: tokens with which machines join the mesh and people reach the admin API over the network. A token is printed once.
import type { Command } from 'commander';
import { parseDuration } from '../api/values/duration-text.ts';
import { AdminClient } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';

interface Options {
  readonly serviceAccount?: string;
  readonly role?: string;
  readonly uses?: string;
  readonly expires?: string;
  readonly output: string;
  readonly state?: string;
}

const HELP = `
Join tokens buy a machine its first certificate: --uses of them until --expires (default: 1 use, 1h). The machine renews with the
certificate. Admin tokens open the admin API where the control plane serves it with --admin-port: --role read sees, write changes.

Examples:
  skein token create --service-account shop/vm --uses 3 --expires 2h
  skein agent --xds HOST:15012 --xds-ca root-cert.pem --token-file token …   on the machine
  skein token create --role read --expires 720h
  skein token list
  skein token revoke 3f2a91c07d44

Exit codes: 0 success, 1 refused, 2 wrong usage, 3 no control plane is running.`;

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('token', 'Create, list and revoke tokens for machines that join and for the admin API.')))
    .argument('<action>', 'create, list or revoke')
    .argument('[id]', 'of the token to revoke')
    .option('--service-account <ns/sa>', 'a join token for this service account')
    .option('--role <role>', 'an admin token: read or write')
    .option('--uses <n>', 'certificates that a join token buys (default: 1)')
    .option('--expires <duration>', 'until when it is worth something (default: 1h; of an admin token 720h)')
    .addHelpText('after', HELP);

export const command = {
  name: 'token',
  summary: 'create, list and revoke tokens for machines that join and for the admin API',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([action, id], options: Options) => {
      const client = new AdminClient(options.state);
      if (action === 'create' && id === undefined) return create(client, options);
      if (action === 'list' && id === undefined) return list(client, options);
      if (action === 'revoke' && id !== undefined) return revoke(client, id);
      throw new UsageError('skein token create …, skein token list, or skein token revoke ID');
    }),
};

const create = async (client: AdminClient, options: Options): Promise<void> => {
  const { serviceAccount, role, uses, expires } = options;
  if ((serviceAccount === undefined) === (role === undefined)) throw new UsageError('give --service-account NS/SA or --role read|write');
  const life = expires === undefined ? {} : { expiresInS: seconds(expires) };
  let made: unknown;
  if (role !== undefined) {
    if (role !== 'read' && role !== 'write') throw new UsageError(`--role ${role}: read or write`);
    if (uses !== undefined) throw new UsageError('--uses is for join tokens');
    made = await client.json('POST', '/v1/access-tokens', { role, ...life });
  } else {
    const [namespace, name, ...rest] = (serviceAccount ?? '').split('/');
    if (!namespace || !name || rest.length > 0) throw new UsageError(`--service-account ${serviceAccount}: give NAMESPACE/NAME`);
    if (uses !== undefined && !/^[1-9]\d{0,6}$/.test(uses)) throw new UsageError(`--uses ${uses}: give a whole number`);
    const count = uses === undefined ? {} : { uses: Number(uses) };
    made = await client.json('POST', '/v1/join-tokens', { namespace, serviceAccount: name, ...count, ...life });
  }
  const format = outputFormat(options.output);
  // The token alone, so that it can be piped into a file.
  print(format === 'table' ? `${(made as { readonly token: string }).token}\n` : structured(made, format));
};

const seconds = (text: string): number => {
  const nanoseconds = parseDuration(text);
  if (nanoseconds === undefined || nanoseconds < 1_000_000_000n) throw new UsageError(`--expires ${text}: give a duration, as 90m or 2h`);
  return Number(nanoseconds / 1_000_000_000n);
};

interface Listed {
  readonly id: string;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly usesLeft?: number;
  readonly role?: string;
  readonly expiresAt: string;
}

const list = async (client: AdminClient, options: Options): Promise<void> => {
  const join = (await client.json('GET', '/v1/join-tokens')) as { readonly tokens: readonly Listed[] };
  const access = (await client.json('GET', '/v1/access-tokens')) as { readonly tokens: readonly Listed[] };
  const format = outputFormat(options.output);
  if (format !== 'table') {
    print(structured({ join: join.tokens, admin: access.tokens }, format));
    return;
  }
  const rows = [
    ...join.tokens.map((t) => [t.id, 'join', `${t.namespace}/${t.serviceAccount}`, String(t.usesLeft), t.expiresAt]),
    ...access.tokens.map((t) => [t.id, 'admin', t.role ?? '', '-', t.expiresAt]),
  ];
  print(rows.length === 0 ? 'There are no tokens.\n' : table(['ID', 'KIND', 'FOR', 'USES', 'EXPIRES'], rows));
};

const revoke = async (client: AdminClient, id: string): Promise<void> => {
  const path = encodeURIComponent(id);
  const joined = await client.call('DELETE', `/v1/join-tokens/${path}`);
  if (joined.status !== 200) await client.json('DELETE', `/v1/access-tokens/${path}`);
  print(`revoked ${id}\n`);
};
