// `skein proxy log-level`: shows or sets how much a running sidecar logs of itself, over Envoy's /logging, so that it is the same for both
// kinds of sidecars.
import { AdminCallError, AdminClient } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';
import { findProxy } from './proxy-name.ts';
import type { ProxyEntry } from './proxy-status.ts';

interface Options {
  readonly namespace?: string;
  readonly output: string;
  readonly state?: string;
}

const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off'];

const program = () =>
  withOutputOption(withStateOption(newCommand('proxy log-level', 'Show or set how much a running sidecar logs of itself.')))
    .argument('<proxy>', 'NAME or NAME.NAMESPACE')
    .argument('[levels...]', `LEVEL for all, or COMPONENT:LEVEL; levels are ${LEVELS.join(', ')}`)
    .option('-n, --namespace <name>', "the proxy's namespace")
    .addHelpText(
      'after',
      `
Examples:
  skein proxy log-level order-v1-0
  skein proxy log-level order-v1-0 debug
  skein proxy log-level order-v1-0 http:debug router:trace      an Envoy's components

It holds until the sidecar ends; what it logs: skein logs -c proxy. Skein's sidecar has one component, \`all\`, and no finer level than debug.
Exit codes: 0 shown or set, 1 no such proxy, or it refuses, 2 wrong usage, 3 no control plane is running.`,
    );

const logLevel = (argv: readonly string[]): Promise<void> =>
  runCommand(program(), argv, async ([name = '', ...levels], options: Options) => {
    const format = outputFormat(options.output);
    const query = queryOf(levels);
    const admin = new AdminClient(options.state);
    const all = (await admin.json('GET', '/v1/proxies')) as readonly ProxyEntry[];
    const proxy = findProxy(
      all.filter((p) => options.namespace === undefined || p.namespace === options.namespace),
      name,
    );
    const path = `/v1/proxies/${encodeURIComponent(proxy.namespace)}/${encodeURIComponent(proxy.name)}/admin/logging`;
    const reply = await admin.call('POST', query === '' ? path : `${path}?${query}`);
    if (reply.status >= 300)
      throw new AdminCallError(
        reply.status,
        'PROXY',
        `${proxy.name}.${proxy.namespace} answered ${reply.status}: ${reasonOf(reply.text)}`,
        [],
      );
    const loggers = parseLoggers(reply.text);
    if (format !== 'table')
      print(structured({ proxy: proxy.name, namespace: proxy.namespace, loggers: Object.fromEntries(loggers) }, format));
    else print(table(['COMPONENT', 'LEVEL'], loggers));
  });

/** Envoy takes one level for all, or several components at once. */
const queryOf = (levels: readonly string[]): string => {
  if (levels.length === 0) return '';
  const parts = levels.flatMap((l) => l.split(',')).map((l) => l.split(/[:=]/));
  for (const [first = '', level = first, ...rest] of parts)
    if (!LEVELS.includes(level) || rest.length > 0 || !/^[\w.-]+$/.test(first))
      throw new UsageError(
        `${first === level ? first : [first, level, ...rest].join(':')}: LEVEL or COMPONENT:LEVEL, with a level of ${LEVELS.join(', ')}`,
      );
  const whole = parts.filter((p) => p.length === 1);
  if (whole.length === 0) return `paths=${parts.map(([c = '', l = '']) => `${encodeURIComponent(c)}:${l}`).join(',')}`;
  if (parts.length > 1) throw new UsageError('one level for all, or levels of components, not both');
  return `level=${whole[0]?.[0] ?? ''}`;
};

/** `active loggers:` and a line each. */
const parseLoggers = (text: string): readonly [string, string][] =>
  text.split('\n').flatMap((line): [string, string][] => {
    const [, component, level] = /^\s+([\w.\-/]+):\s*(\w+)\s*$/.exec(line) ?? [];
    return component === undefined || level === undefined ? [] : [[component, level]];
  });

const reasonOf = (text: string): string => {
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly message?: string } };
    return error?.message ?? text.trim();
  } catch {
    return (text.trim().split('\n')[0] ?? '').replace(/^error: /, '');
  }
};

export const command = { name: 'proxy log-level', summary: 'show or set what a running sidecar logs', run: logLevel };
