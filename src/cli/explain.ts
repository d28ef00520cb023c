// `skein explain`: why a request of the local mesh ended as it did, found by its id in the access logs of the proxies; or what a response
// flag means.
import type { LoggedRequest } from '../explain/access-line.ts';
import type { Explanation } from '../explain/request-outcome.ts';
import { flagMeaning, flagMeanings } from '../explain/response-flags.ts';
import { stateFolder, statePaths } from '../local/state.ts';
import { AdminClient } from './admin-client.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { assumptions, decider, lines, nearest } from './explained-text.ts';
import { print, structured, table } from './output.ts';
import { connectionsFrom } from './refused-connections.ts';
import { failedRequests, requestsWithId } from './request-log.ts';

interface Options {
  readonly output: string;
  readonly state?: string;
  readonly failed?: boolean;
  readonly connection?: string;
  readonly tail: string;
}

const program = () =>
  withOutputOption(
    withStateOption(newCommand('explain', 'Why a request ended as it did: the object, file and line that decided. Or what a flag means.')),
  )
    .argument('[id]', 'an x-request-id, a connection’s included; or a response flag (UF); nothing: all flags')
    .option('--failed', 'list the newest requests that a proxy refused or failed, with their ids')
    .option('--connection <address>', 'why connections from ADDRESS:PORT, or from all of an address, were refused')
    .option('--tail <n>', 'with --failed: how many', '20')
    .addHelpText(
      'after',
      `
Examples:
  skein explain --failed                                  which requests went wrong
  skein explain 7ab1f0e2-6f3d-4d6a-9a51-0c1f5c1b7a10      why that one did
  skein explain --connection 10.128.0.7:51034             why that TCP connection was refused
  skein explain UF                                        what the flag says
  skein explain                                           all flags

The request is looked for in the access logs of the proxies (\`skein logs -c proxy\`), as JSON or as text in the default format; so
access logs must be on, and the id must be in them. What the log does not hold (identities, headers, tokens) is assumed, and said.
A connection has no id: it is known by its caller's address and port, as access logs, the audit log and --failed say it. Refused ones
are also found without access logs, as long as their sidecars tell the control plane what happens.
Exit codes: 0 explained, 1 not found, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'explain',
  summary: 'say why a request ended as it did, or what a response flag means',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([id, ...rest], options: Options) => {
      if (rest.length > 0) throw new UsageError('explain takes one request id or flag');
      const format = outputFormat(options.output);
      const show = (value: unknown, text: () => string): void => print(format === 'table' ? text() : structured(value, format));
      if (options.failed === true) {
        if (!/^[1-9]\d{0,3}$/.test(options.tail)) throw new UsageError('--tail is a number from 1 to 9999');
        const list = await failedRequests(logs(options), Number(options.tail));
        return show(list, () => failures(list));
      }
      if (options.connection !== undefined) {
        if (id !== undefined) throw new UsageError('explain takes a request id or --connection, not both');
        await explainConnection(options.connection, options, show);
        return;
      }
      if (id === undefined) return show(flagMeanings, flagTable);
      const meaning = flagMeaning(id);
      if (meaning !== undefined) {
        const { flag, name, meaning: means, cause, next } = meaning;
        return show(meaning, () => lines([`${flag} (${name}): ${means}`, `  likely cause  ${cause}`, `  next          ${next}`]));
      }
      await explainId(id, options, show);
    }),
};

const logs = ({ state }: Options): string => statePaths(stateFolder(state, process.env)).logs;

const explainId = async (id: string, options: Options, show: (value: unknown, text: () => string) => void): Promise<void> => {
  const entries = await requestsWithId(logs(options), id);
  if (entries.length === 0) {
    process.stderr.write(`skein: no proxy has logged the request ${JSON.stringify(id)} in ${logs(options)}: is the access log on?\n`);
    process.exitCode = EXIT_FAILED;
    return;
  }
  const explained = await explanations(entries, new AdminClient(options.state));
  const decided = decisive(explained);
  show({ requestId: id, decisive: decided, entries: explained }, () => requestText(explained, decided));
};

const explainConnection = async (remote: string, options: Options, show: (value: unknown, text: () => string) => void): Promise<void> => {
  const client = new AdminClient(options.state);
  const entries = await connectionsFrom(logs(options), client, remote);
  if (entries.length === 0) {
    process.stderr.write(`skein: no proxy has told of a refused connection from ${JSON.stringify(remote)}\n`);
    process.exitCode = EXIT_FAILED;
    return;
  }
  const explained = await explanations(entries, client);
  show({ connection: remote, entries: explained }, () => lines(explained.flatMap((one) => [...connectionLines(one)])));
};

const connectionLines = (one: Explained): readonly string[] => [
  `${one.logged.time}  ${one.logged.remote} to ${one.logged.local}${one.logged.principal === undefined ? '' : `  as ${one.logged.principal}`}`,
  ...explanationLines(one),
];

const explanations = async (entries: readonly LoggedRequest[], client: AdminClient): Promise<readonly Explained[]> => {
  const explained: Explained[] = [];
  for (const logged of entries) {
    const question = encodeURIComponent(JSON.stringify(bounded(logged)));
    explained.push({ logged, explanation: (await client.json('GET', `/v1/explain/request?q=${question}`)) as Explanation });
  }
  return explained;
};

interface Explained {
  readonly logged: LoggedRequest;
  readonly explanation: Explanation;
}

/** Long paths and agents need not travel whole. */
const SENT_MAX = 2000;
const bounded = (logged: LoggedRequest): LoggedRequest => ({
  ...logged,
  path: logged.path.slice(0, SENT_MAX),
  userAgent: logged.userAgent.slice(0, SENT_MAX),
  forwardedFor: logged.forwardedFor.slice(-SENT_MAX),
});

/** The one that did not only pass on: the last hop that was reached, so the one that ended first. */
const decisive = (entries: readonly Explained[]): Explained | undefined =>
  [...entries].reverse().find(({ explanation }) => !explanation.passedOn) ?? entries.at(-1);

const requestText = (entries: readonly Explained[], decided: Explained | undefined): string => {
  const [first] = entries;
  const { method = '', authority = '', path = '' } = first?.logged ?? {};
  return lines([
    `${method} ${authority}${path}`,
    ...entries.map(({ logged, explanation: e }) => {
      const flags = logged.flags.length === 0 ? '' : ` ${logged.flags.join(',')}`;
      return `  ${logged.time}  ${logged.proxy} (${e.side})  ${logged.code}${flags}  ${logged.details || logged.termination}`;
    }),
    '',
    ...(decided === undefined ? [] : explanationLines(decided)),
  ]);
};

const explanationLines = ({ logged, explanation: e }: Explained): readonly string[] => [
  `${logged.proxy}: ${e.outcome}`,
  ...(e.decidedBy === undefined || e.nearest !== undefined ? [] : [`  decided by  ${decider(e.decidedBy)}`]),
  ...e.related.map((by) => `  see also    ${decider(by)}`),
  ...(e.nearest === undefined ? [] : nearest(e.nearest)),
  ...e.flags.map((f) => `  ${f.flag.padEnd(11)} ${f.meaning}`),
  ...(e.hint === '' ? [] : [`  hint        ${e.hint}`]),
  ...assumptions(e.assumptions),
];

const failures = (list: readonly LoggedRequest[]): string =>
  table(
    ['TIME', 'PROXY', 'REQUEST', 'CODE', 'FLAGS', 'DETAILS', 'ID'],
    list.map((r) => [
      r.time,
      r.proxy,
      r.method === '' ? 'connection' : `${r.method} ${r.authority}${r.path}`.slice(0, 80),
      String(r.code),
      r.flags.join(','),
      r.details || r.termination,
      r.requestId || r.remote,
    ]),
  );

const flagTable = (): string =>
  table(
    ['FLAG', 'MEANS', 'LIKELY CAUSE', 'NEXT'],
    flagMeanings.map((f) => [f.flag, f.meaning, f.cause, f.next]),
  );
