// The agent's flags and their environment. `--flag value` and `--flag=value`; repeated flags collect.
import { closeSync, readFileSync, readSync } from 'node:fs';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { WANTS_ON_DEMAND } from '../xds/client-features.ts';
import { type AgentConfig, AgentConfigError, type DnsConfig, type HostPort } from './agent-config.ts';
import { readApplicationMetrics } from './application-metrics.ts';
import { readProbe } from './workload-probe.ts';

export interface ParsedAgentFlags {
  readonly config: AgentConfig;
  /** Flags that are not the agent's, in order: the caller's own. */
  readonly rest: readonly string[];
  /** What came after `--`; undefined when there was no `--`. */
  readonly command: readonly string[] | undefined;
}

type Env = { readonly [name: string]: string | undefined };

interface Flag {
  readonly name: string;
  /** Shown in the usage; absent for a switch. */
  readonly value?: string;
  readonly help: string;
  readonly env?: string;
  readonly repeat?: boolean;
}

const FLAGS: readonly Flag[] = [
  { name: 'name', value: 'NAME', help: 'name of this replica, unique in its namespace', env: 'POD_NAME' },
  { name: 'namespace', value: 'NS', help: 'namespace (default "default")', env: 'POD_NAMESPACE' },
  { name: 'service-account', value: 'SA', help: 'service account, the identity (default "default")', env: 'SERVICE_ACCOUNT' },
  { name: 'workload', value: 'NAME', help: 'workload that this is a replica of (default: the name)', env: 'ISTIO_META_WORKLOAD_NAME' },
  { name: 'ip', value: 'IP', help: 'address of this workload; may be repeated', env: 'INSTANCE_IP', repeat: true },
  { name: 'labels', value: 'K=V,…', help: 'labels of this workload; may be repeated', repeat: true },
  { name: 'trust-domain', value: 'DOMAIN', help: 'trust domain (default "cluster.local")', env: 'TRUST_DOMAIN' },
  { name: 'domain', value: 'DOMAIN', help: 'DNS domain of the cluster (default "cluster.local")' },
  { name: 'cluster-id', value: 'ID', help: 'cluster (default "Kubernetes")', env: 'ISTIO_META_CLUSTER_ID' },
  { name: 'mesh-id', value: 'ID', help: 'mesh (default: the trust domain)', env: 'ISTIO_META_MESH_ID' },
  { name: 'locality', value: 'R/Z/S', help: 'region/zone/subzone' },
  { name: 'xds', value: 'ADDRESS', help: 'control plane: unix:PATH or HOST:PORT', env: 'SKEIN_XDS' },
  { name: 'xds-ca', value: 'FILE', help: 'PEM bundle: speak TLS to the control plane and check it against this' },
  { name: 'token-fd', value: 'N', help: 'descriptor to read the identity token from, up to a newline or its end' },
  { name: 'token-file', value: 'FILE', help: 'file with the identity token, read for each use' },
  { name: 'run-dir', value: 'DIR', help: "folder for the agent's socket" },
  { name: 'dns-listen', value: 'IP:PORT', help: 'resolver for the application (default 127.0.0.1:15053)' },
  { name: 'dns-upstream', value: 'IP[:PORT]', help: 'resolver for other names; may be repeated (default: /etc/resolv.conf)', repeat: true },
  { name: 'no-dns', help: 'no resolver' },
  { name: 'status-port', value: 'PORT', help: 'readiness (default 15021)' },
  { name: 'stats-port', value: 'PORT', help: 'merged metrics (default 15020)' },
  { name: 'admin-port', value: 'PORT', help: "the proxy's admin API, loopback (default 15000)" },
  { name: 'prometheus-port', value: 'PORT', help: "the proxy's metrics (default 15090)" },
  { name: 'gateway', help: 'a gateway, not a sidecar' },
  { name: 'metadata-json', value: 'JSON', help: 'node metadata, merged over what is made here' },
  {
    name: 'on-demand',
    value: 'true|false',
    help: 'virtual hosts, clusters and listeners come when they are needed (default false)',
    env: 'ISTIO_META_SKEIN_ON_DEMAND',
  },
  { name: 'auto-register-group', value: 'NAME', help: 'WorkloadGroup to register with', env: 'ISTIO_META_AUTO_REGISTER_GROUP' },
  {
    name: 'proxy-config',
    value: 'JSON',
    help: "Istio's ProxyConfig; its readinessProbe is run here, an Envoy is started with the rest",
    env: 'PROXY_CONFIG',
  },
  {
    name: 'annotations',
    value: 'JSON',
    help: 'annotations of this workload; sidecar.istio.io/statsHistogramBuckets and prometheus.io/* are read',
    env: 'ISTIO_METAJSON_ANNOTATIONS',
  },
  {
    name: 'prometheus-annotations',
    value: 'JSON',
    help: "where the application tells its metrics: {scrape, port, path}; they stand on the agent's own port then",
    env: 'ISTIO_PROMETHEUS_ANNOTATIONS',
  },
  { name: 'exec-probes', help: 'a probe of the WorkloadGroup may run commands here' },
  { name: 'bind-source', value: 'IP', help: 'source address of connections that leave the sidecar' },
  { name: 'app-port', value: 'PORT', help: 'port of the application; may be repeated', repeat: true },
  {
    name: 'workload-api',
    value: 'PATH',
    help: 'Unix socket (mode 0600) for the SPIFFE Workload API, which gives the key to the application (default: none)',
  },
  { name: 'summaries', help: 'tell the control plane what happens, for its summaries (`skein top`, `skein edges`)' },
  { name: 'certificate-ttl', value: 'SECONDS', help: 'life asked for a certificate (default 86400)', env: 'SKEIN_CERTIFICATE_TTL' },
];

/** One line a flag, for `--help`. */
export const agentFlagsHelp = (): string =>
  FLAGS.map(({ name, value, help, env }) => {
    const left = `--${name}${value ? ` ${value}` : ''}`;
    return `  ${left.padEnd(26)}${help}${env ? ` [${env}]` : ''}`;
  }).join('\n');

/** Throws AgentConfigError. `files` and descriptors named by flags are read here, once, except `--token-file`. */
export const parseAgentFlags = (argv: readonly string[], env: Env, statusListener: AgentConfig['statusListener']): ParsedAgentFlags => {
  const { values, rest, command } = splitFlags(argv);
  for (const f of FLAGS) {
    const fromEnv = f.env === undefined ? undefined : env[f.env];
    if (fromEnv !== undefined && fromEnv !== '' && !values.has(f.name)) values.set(f.name, [fromEnv]);
  }
  return { config: configOf(new FlagValues(values), statusListener), rest, command };
};

const configOf = (flags: FlagValues, statusListener: AgentConfig['statusListener']): AgentConfig => {
  const ips = flags.all('ip').flatMap((v) => v.split(','));
  for (const ip of ips) flags.check('ip', ip, isIP(ip) !== 0, 'an IP address');
  const name = flags.one('name') ?? hostname();
  const trustDomain = flags.one('trust-domain') ?? 'cluster.local';
  const xds = flags.one('xds');
  if (xds === undefined) throw new AgentConfigError('--xds is missing: the control plane as unix:PATH or HOST:PORT');
  const runDir = flags.one('run-dir');
  if (runDir === undefined) throw new AgentConfigError('--run-dir is missing: a folder for the agent’s socket');
  const xdsCa = flags.one('xds-ca');
  const workloadApi = flags.one('workload-api');
  const bindSource = flags.one('bind-source');
  if (bindSource !== undefined) flags.check('bind-source', bindSource, isIP(bindSource) !== 0, 'an IP address');
  const [region, zone, subZone] = (flags.one('locality') ?? '').split('/');
  return {
    name,
    namespace: flags.one('namespace') ?? 'default',
    serviceAccount: flags.one('service-account') ?? 'default',
    workload: flags.one('workload') ?? name,
    ips: ips.length > 0 ? ips : ['127.0.0.1'],
    labels: flags.labels(),
    trustDomain,
    domain: flags.one('domain') ?? 'cluster.local',
    clusterId: flags.one('cluster-id') ?? 'Kubernetes',
    meshId: flags.one('mesh-id') ?? trustDomain,
    locality: { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(subZone ? { sub_zone: subZone } : {}) },
    xds,
    xdsCaPem: xdsCa === undefined ? undefined : flags.file('xds-ca', xdsCa),
    token: flags.token(),
    runDir,
    dns: flags.has('no-dns') ? undefined : flags.dns(),
    statusPort: flags.port('status-port', 15021),
    statsPort: flags.port('stats-port', 15020),
    adminPort: flags.port('admin-port', 15000),
    prometheusPort: flags.port('prometheus-port', 15090),
    gateway: flags.has('gateway'),
    metadata: metadataOf(flags),
    ...applicationMetricsOf(flags),
    ...(flags.has('exec-probes') ? { execProbes: true } : {}),
    bindSource,
    appPorts: flags
      .all('app-port')
      .flatMap((v) => v.split(','))
      .map((v) => flags.portOf('app-port', v)),
    statusListener,
    ...(workloadApi === undefined ? {} : { workloadApi: workloadApi.replace(/^unix:(\/\/(?=\/))?/, '') }),
    ...(flags.has('summaries') ? { summaries: true } : {}),
    certificateTtlS: flags.positive('certificate-ttl', 86_400),
  };
};

const applicationMetricsOf = (flags: FlagValues): Pick<AgentConfig, 'applicationMetrics'> => {
  const found = readApplicationMetrics(flags.json('prometheus-annotations'), flags.json('annotations'));
  return found === undefined ? {} : { applicationMetrics: found };
};

/** As Istio's agents send them. */
const metadataOf = (flags: FlagValues): AgentConfig['metadata'] => {
  const group = flags.one('auto-register-group');
  const onDemand = flags.one('on-demand') ?? 'false';
  flags.check('on-demand', onDemand, onDemand === 'true' || onDemand === 'false', 'true or false');
  const proxyConfig = flags.json('proxy-config');
  const annotations = flags.json('annotations');
  const probe = proxyConfig['readinessProbe'];
  const read = probe === undefined ? undefined : readProbe(probe);
  if (read?.ok === false) throw new AgentConfigError(`--proxy-config: readinessProbe: ${read.error}`);
  return {
    ...(group === undefined ? {} : { AUTO_REGISTER_GROUP: group }),
    ...(Object.keys(proxyConfig).length === 0 ? {} : { PROXY_CONFIG: proxyConfig }),
    ...(Object.keys(annotations).length === 0 ? {} : { ANNOTATIONS: annotations }),
    ...(onDemand === 'true' ? { [WANTS_ON_DEMAND]: 'true' } : {}),
    ...flags.json('metadata-json'),
  };
};

const splitFlags = (argv: readonly string[]) => {
  const values = new Map<string, string[]>();
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    if (arg === '--') return { values, rest, command: argv.slice(i + 1) };
    const [, flagName, inline] = /^--([a-z-]+)(?:=([\s\S]*))?$/.exec(arg) ?? [];
    const flag = FLAGS.find((f) => f.name === flagName);
    if (!flag) {
      rest.push(arg);
      continue;
    }
    if (flag.value === undefined && inline !== undefined) throw new AgentConfigError(`--${flag.name} takes no value`);
    const value = flag.value === undefined ? '' : (inline ?? argv[++i]);
    if (value === undefined) throw new AgentConfigError(`--${flag.name} needs a value: ${flag.value}`);
    const seen = values.get(flag.name);
    if (seen && !flag.repeat) throw new AgentConfigError(`--${flag.name} is given twice`);
    if (seen) seen.push(value);
    else values.set(flag.name, [value]);
  }
  return { values, rest, command: undefined };
};

class FlagValues {
  readonly #values: ReadonlyMap<string, readonly string[]>;
  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }
  one(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  check(name: string, value: string, fits: boolean, wanted: string): void {
    if (!fits) throw new AgentConfigError(`--${name}: "${value}" is not ${wanted}`);
  }

  port(name: string, otherwise: number): number {
    const value = this.one(name);
    return value === undefined ? otherwise : this.portOf(name, value);
  }
  portOf(name: string, value: string): number {
    this.check(name, value, /^\d{1,5}$/.test(value) && Number(value) <= 65_535, 'a port (0 to 65535)');
    return Number(value);
  }
  positive(name: string, otherwise: number): number {
    const value = this.one(name);
    if (value === undefined) return otherwise;
    this.check(name, value, /^[1-9]\d{0,8}$/.test(value), 'a positive whole number');
    return Number(value);
  }

  labels(): { readonly [key: string]: string } {
    const out: { [key: string]: string } = {};
    for (const pair of this.all('labels').flatMap((v) => v.split(','))) {
      if (pair === '') continue;
      const at = pair.indexOf('=');
      this.check('labels', pair, at > 0, 'KEY=VALUE');
      out[pair.slice(0, at)] = pair.slice(at + 1);
    }
    return out;
  }

  json(name: string): { readonly [key: string]: unknown } {
    const text = this.one(name);
    if (text === undefined) return {};
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = undefined;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new AgentConfigError(`--${name} is not a JSON object`);
    return value as { readonly [key: string]: unknown };
  }

  file(name: string, path: string): string {
    try {
      return readFileSync(path, 'utf8');
    } catch (e) {
      throw new AgentConfigError(`--${name}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  token(): () => string | undefined {
    const path = this.one('token-file');
    const fd = this.one('token-fd');
    if (path !== undefined && fd !== undefined) throw new AgentConfigError('--token-fd and --token-file exclude each other');
    if (path !== undefined) return () => this.file('token-file', path).trim();
    if (fd === undefined) return () => undefined;
    this.check('token-fd', fd, /^\d{1,4}$/.test(fd), 'a descriptor number');
    const token = readTokenFd(Number(fd));
    return () => token;
  }

  dns(): DnsConfig {
    const listen = hostPort('dns-listen', this.one('dns-listen') ?? '127.0.0.1:15053', undefined);
    const given = this.all('dns-upstream').flatMap((v) => v.split(','));
    const upstreams = given.length > 0 ? given : systemResolvers();
    return {
      listen,
      // Our own address as upstream would be a question to ourselves without end.
      upstreams: upstreams.map((v) => hostPort('dns-upstream', v, 53)).filter((u) => u.host !== listen.host || u.port !== listen.port),
    };
  }
}

/** `1.2.3.4:53`, `1.2.3.4`, `[::1]:53`, `::1`. */
const hostPort = (flag: string, text: string, otherwise: number | undefined): HostPort => {
  const bare = isIP(text) === 0 ? undefined : text;
  const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bare ?? v6 ?? v4 ?? '';
  const number = port === undefined ? otherwise : Number(port);
  if (isIP(host) === 0 || number === undefined || number > 65_535)
    throw new AgentConfigError(`--${flag}: "${text}" is not an address (IP:PORT)`);
  return { host, port: number };
};

const systemResolvers = (): readonly string[] => {
  try {
    return [...readFileSync('/etc/resolv.conf', 'utf8').matchAll(/^\s*nameserver\s+(\S+)/gm)]
      .map(([, ip]) => (ip ?? '').replace(/%.*$/, ''))
      .filter((ip) => isIP(ip) !== 0);
  } catch {
    return [];
  }
};

const TOKEN_BYTES_MAX = 16 * 1024;

/** Up to a newline or the end, so that the giver need not close the pipe. */
const readTokenFd = (fd: number): string => {
  const buffer = Buffer.alloc(TOKEN_BYTES_MAX);
  let length = 0;
  try {
    while (length < buffer.length) {
      const n = readSync(fd, buffer, length, buffer.length - length, null);
      length += n;
      if (n === 0 || buffer.subarray(0, length).includes(0x0a)) break;
    }
    closeSync(fd);
  } catch (e) {
    throw new AgentConfigError(`--token-fd: ${e instanceof Error ? e.message : String(e)}`);
  }
  return buffer.subarray(0, length).toString('utf8').split('\n')[0]?.trim() ?? '';
};
