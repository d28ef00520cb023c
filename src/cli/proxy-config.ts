// `skein proxy-config`: what a running sidecar works from, read from its own admin API through its agent.
import type { Command } from 'commander';
import { AdminCallError, AdminClient } from './admin-client.ts';
import { newCommand, runCommand, UsageError, withStateOption } from './command-line.ts';
import { type ConfigDump, parseClusters, parseConfigDump } from './config-dump.ts';
import { print, structured } from './output.ts';
import {
  addressText,
  clusterName,
  clusterTable,
  clusterType,
  endpointTable,
  listenerTable,
  routeTable,
  secretTable,
} from './proxy-config-tables.ts';
import { findProxy } from './proxy-name.ts';
import type { ProxyEntry } from './proxy-status.ts';

interface Options {
  readonly namespace?: string;
  readonly output: string;
  readonly state?: string;
  readonly fqdn?: string;
  readonly port?: string;
  readonly direction?: string;
  readonly subset?: string;
  readonly name?: string;
  readonly type?: string;
  readonly address?: string;
  readonly level?: string;
}

/** One way to look: what is shown as a table, and what as JSON. */
interface View {
  readonly json: unknown;
  readonly table: () => string;
}

const WHAT: { readonly [name: string]: readonly string[] } = {
  listeners: ['listener', 'l'],
  routes: ['route', 'r'],
  clusters: ['cluster', 'c'],
  endpoints: ['endpoint', 'ep'],
  secrets: ['secret', 's'],
  bootstrap: ['b'],
  log: ['o'],
  all: ['a'],
};

const program = (): Command =>
  withStateOption(newCommand('proxy-config', "Print a sidecar's listeners, routes, clusters, endpoints or secrets, as it has them now."))
    .argument('<what>', Object.keys(WHAT).join(', '))
    .argument('<workload>', 'a proxy, as NAME or NAME.NAMESPACE')
    .option('-n, --namespace <name>', "the proxy's namespace")
    .option('-o, --output <format>', 'table, short (the same), json or yaml', 'table')
    .option('--fqdn <host>', 'clusters and endpoints of this service')
    .option('--port <port>', 'of listeners, clusters and endpoints')
    .option('--direction <word>', 'clusters: inbound or outbound')
    .option('--subset <name>', 'clusters and endpoints of this subset')
    .option('--name <name>', 'one route configuration, cluster or secret')
    .option('--type <type>', 'clusters: EDS, STATIC, ORIGINAL_DST …')
    .option('--address <address>', 'of listeners and endpoints')
    .option('--level <levels>', 'log: set levels, as `debug` or `http=debug,router=info`')
    .addHelpText(
      'after',
      `
Examples:
  skein proxy-config routes order-v1-0
  skein proxy-config clusters order-v1-0.production --fqdn payment-service.production.svc.cluster.local
  skein proxy-config all order-v1-0 -o json > dump.json
  skein proxy-config log order-v1-0 --level debug

Exit codes: 0 printed, 1 no such proxy or it does not answer, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'proxy-config',
  summary: "print a sidecar's listeners, routes, clusters, endpoints or secrets",
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([whatName = '', workload = ''], options: Options) => {
      const what = Object.keys(WHAT).find((w) => w === whatName || WHAT[w]?.includes(whatName));
      if (what === undefined) throw new UsageError(`there is no ${JSON.stringify(whatName)}: one of ${Object.keys(WHAT).join(', ')}`);
      const { output } = options;
      if (output !== 'table' && output !== 'short' && output !== 'json' && output !== 'yaml')
        throw new UsageError(`--output ${output}: one of table, short, json, yaml`);
      const proxy = await openProxy(workload, options);
      const view = await viewOf(what, proxy, options);
      print(output === 'table' || output === 'short' ? view.table() : structured(view.json, output));
    }),
};

type ProxyAdmin = (path: string, method?: string) => Promise<string>;

const openProxy = async (workload: string, options: Options): Promise<ProxyAdmin> => {
  const admin = new AdminClient(options.state);
  const all = (await admin.json('GET', '/v1/proxies')) as readonly ProxyEntry[];
  const { name, namespace } = findProxy(
    all.filter((p) => options.namespace === undefined || p.namespace === options.namespace),
    workload,
  );
  return async (path, method = 'GET') => {
    const reply = await admin.call(method, `/v1/proxies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}/admin/${path}`);
    if (reply.status < 300) return reply.text;
    throw new AdminCallError(reply.status, 'PROXY', `${name}.${namespace} answered ${reply.status}: ${reasonOf(reply.text)}`, []);
  };
};

const reasonOf = (text: string): string => {
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly message?: string } };
    return error?.message ?? text;
  } catch {
    return text.trim();
  }
};

const viewOf = async (what: string, proxy: ProxyAdmin, options: Options): Promise<View> => {
  if (what === 'log') {
    const text = options.level === undefined ? await proxy('logging', 'POST') : await proxy(`logging?${levelQuery(options.level)}`, 'POST');
    return { json: { logging: text }, table: () => text };
  }
  if (what === 'endpoints') {
    const clusters = parseClusters(JSON.parse(await proxy('clusters?format=json')));
    const chosen = endpointsWanted(clusters, options);
    return { json: chosen, table: () => endpointTable(chosen) };
  }
  const whole: unknown = JSON.parse(await proxy('config_dump?include_eds'));
  const dump = parseConfigDump(whole);
  switch (what) {
    case 'listeners':
      return listenerView(dump, options);
    case 'routes':
      return routeView(dump, options);
    case 'clusters':
      return clusterView(dump, options);
    case 'secrets':
      return secretView(dump, options);
    case 'bootstrap':
      return { json: dump.bootstrap ?? {}, table: () => structured(dump.bootstrap ?? {}, 'yaml') };
    default: {
      const views = [clusterView(dump, {}), listenerView(dump, {}), routeView(dump, {}), secretView(dump, {})];
      return { json: whole, table: () => views.map((v) => v.table()).join('\n') };
    }
  }
};

type Filter = Partial<Options>;

const wanted = (filter: string | undefined, value: string): boolean => filter === undefined || filter === value;

const listenerView = (dump: ConfigDump, o: Filter): View => {
  const chosen = dump.listeners.filter((l) => {
    const { host, port } = addressText(l.address);
    return wanted(o.port, port) && wanted(o.address, host) && wanted(o.name, l.name ?? '');
  });
  return { json: chosen, table: () => listenerTable(chosen) };
};

const routeView = (dump: ConfigDump, o: Filter): View => {
  const chosen = dump.routes.filter((r) => wanted(o.name, r.name ?? ''));
  return { json: chosen, table: () => routeTable(chosen) };
};

const clusterView = (dump: ConfigDump, o: Filter): View => {
  const chosen = dump.clusters.filter((c) => clusterWanted(c.name ?? '', o) && wanted(o.type?.toUpperCase(), clusterType(c).toUpperCase()));
  return { json: chosen, table: () => clusterTable(chosen) };
};

const clusterWanted = (name: string, o: Filter): boolean => {
  const parts = clusterName(name);
  return (
    wanted(o.name, name) &&
    wanted(o.fqdn, parts.fqdn) &&
    wanted(o.port, parts.port) &&
    wanted(o.direction, parts.direction) &&
    wanted(o.subset, parts.subset)
  );
};

/** Here a port is an endpoint's, not a service's. */
const endpointsWanted = (clusters: ReturnType<typeof parseClusters>, { port, ...o }: Filter): ReturnType<typeof parseClusters> =>
  clusters
    .filter((c) => clusterWanted(c.name ?? '', o))
    .map((c) => ({
      ...c,
      host_statuses: (c.host_statuses ?? []).filter((h) => {
        const at = addressText(h.address);
        return wanted(port, at.port) && wanted(o.address, at.host);
      }),
    }));

const secretView = (dump: ConfigDump, o: Filter): View => {
  const chosen = dump.secrets.filter((s) => wanted(o.name, s.name));
  return { json: chosen, table: () => secretTable(chosen, Date.now()) };
};

/** `debug` sets every logger, `a=debug,b=info` some. */
const levelQuery = (levels: string): string =>
  levels
    .split(',')
    .map((part) => (part.includes('=') ? part.split('=').map(encodeURIComponent).join('=') : `level=${encodeURIComponent(part)}`))
    .join('&');
