// What a mesh folder says about processes: its Workloads, which of them are in the mesh, its Services for the hub. Reads every YAML below
// the folder; a folder with an error in it gives problems and no plan, so that a half-saved file never stops a running replica.

import { type Dirent, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CaptureOptions } from '../agent/capture/program.ts';
import { effectiveProxyConfig } from '../api/mesh-config/effective-proxy-config.ts';
import { defaultMeshConfig, type MeshConfig, parseMeshConfig } from '../api/mesh-config/mesh-config.ts';
import { type ParsedDocuments, parseDocuments } from '../api/parse-documents.ts';
import { hasErrors, type Problem } from '../api/problem.ts';
import { textOf } from '../api/reading/document-bytes.ts';
import { ofKind, type Resource } from '../api/resource.ts';
import type { MeshProxyConfigSpec } from '../api/specs.ts';
import { ownMeshConfig } from './mesh-settings.ts';

export interface WorkloadPlan {
  readonly name: string;
  readonly namespace: string;
  readonly kind: 'application' | 'gateway';
  readonly meshed: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly replicas: number;
  readonly command: readonly string[];
  readonly workingDir: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly readiness: ReadinessPlan | undefined;
  readonly capture: Partial<CaptureOptions>;
  readonly proxy: ProxyPlan;
}

/** How its proxies are started, where somebody says so. */
export interface ProxyPlan {
  readonly concurrency?: number;
  readonly drainTimeS?: number;
  readonly terminationDrainS?: number;
  readonly env: Readonly<Record<string, string>>;
}

export interface ReadinessPlan {
  readonly probe:
    | { readonly kind: 'http'; readonly path: string; readonly port: number }
    | { readonly kind: 'tcp'; readonly port: number }
    | { readonly kind: 'exec'; readonly command: readonly string[] };
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly failures: number;
}

export interface MeshFolder {
  readonly workloads: readonly WorkloadPlan[];
  readonly problems: readonly Problem[];
}

/** As the control plane reads the file, so both refuse the same. */
const readDocuments = (file: string): ParsedDocuments => {
  const text = textOf(file, readFileSync(file));
  return text.ok ? parseDocuments(file, text.value) : { resources: [], problems: [text.error] };
};

export const readMeshFolder = (folder: string): MeshFolder => {
  try {
    readdirSync(folder);
  } catch (error) {
    // Gone for a moment (moved, remounted): no plan, so nothing that runs is stopped.
    const message = `cannot read ${folder}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
    return {
      workloads: [],
      problems: [{ code: 'FOLDER_UNREADABLE', severity: 'error', file: folder, line: 1, column: 1, path: '', message }],
    };
  }
  const parsed = yamlFiles(folder).map(readDocuments);
  const problems = parsed.flatMap((p) => p.problems);
  if (hasErrors(problems)) return { workloads: [], problems };
  const planned = planWorkloads(
    parsed.flatMap((p) => p.resources),
    meshSettings(folder),
  );
  const all = [...problems, ...planned.problems];
  return hasErrors(all) ? { workloads: [], problems: all } : { workloads: planned.workloads, problems: all };
};

/** Changes when a file below the folder does: names, sizes, times. Cheap enough to ask twice a second. */
export const folderMark = (folder: string): string =>
  yamlFiles(folder)
    .map((file) => {
      try {
        const { size, mtimeMs, ino } = statSync(file);
        return `${file} ${size} ${mtimeMs} ${ino}`;
      } catch {
        return file; // renamed away in this moment
      }
    })
    .join('\n');

/** Links are followed as the control plane does; a link back to a folder already read adds nothing. */
const yamlFiles = (folder: string): string[] => {
  const seen = new Set<string>();
  const walk = (at: string): string[] => {
    try {
      const { dev, ino } = statSync(at);
      if (seen.has(`${dev}:${ino}`)) return [];
      seen.add(`${dev}:${ino}`);
      return readdirSync(at, { withFileTypes: true }).flatMap((entry) => below(join(at, entry.name), entry));
    } catch {
      return []; // gone in this moment
    }
  };
  const below = (path: string, entry: Dirent): string[] => {
    if (entry.name.startsWith('.')) return [];
    if (isFolder(path, entry)) return walk(path);
    return /\.(ya?ml|json)$/.test(entry.name) ? [path] : [];
  };
  return walk(folder).sort();
};

const isFolder = (path: string, entry: Dirent): boolean => {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
};

/** The mesh's settings, which lie beside the folder, as the control plane will read them; what is wrong with them is the control plane's to say. */
const meshSettings = (folder: string): MeshConfig => {
  const file = ownMeshConfig(dirname(folder));
  const read = file === undefined ? undefined : parseMeshConfig(file, readFileSync(file, 'utf8'));
  return read?.ok === true ? read.value.config : defaultMeshConfig();
};

const planWorkloads = (resources: readonly Resource[], mesh: MeshConfig): MeshFolder => {
  const namespaces = new Map(ofKind(resources, 'Namespace').map((n) => [n.name, n.labels]));
  const sources = { policies: ofKind(resources, 'ProxyConfig'), defaults: mesh.defaultConfig, rootNamespace: mesh.rootNamespace };
  const problems: Problem[] = [];
  const workloads = ofKind(resources, 'Workload')
    .map((resource) => {
      const { config, problems: found } = effectiveProxyConfig(sources, resource);
      problems.push(...found);
      return planWorkload(resource, namespaces.get(resource.namespace) ?? {}, planProxy(config));
    })
    .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
  return { workloads, problems };
};

/** The mesh's own defaults are the proxies' defaults: only what differs is passed on. */
const planProxy = (config: MeshProxyConfigSpec): ProxyPlan => {
  const { drainDuration, terminationDrainDuration } = defaultMeshConfig().defaultConfig;
  const seconds = (text: string | undefined, otherwise: string): number | undefined =>
    text === undefined || text === otherwise ? undefined : Math.round(Number.parseFloat(text));
  const drainTimeS = seconds(config.drainDuration, drainDuration);
  const terminationDrainS = seconds(config.terminationDrainDuration, terminationDrainDuration);
  return {
    ...(config.concurrency === undefined ? {} : { concurrency: config.concurrency }),
    ...(drainTimeS === undefined ? {} : { drainTimeS }),
    ...(terminationDrainS === undefined ? {} : { terminationDrainS }),
    env: { ...atStart(config), ...config.proxyMetadata },
  };
};

/** What an Envoy has to be told when it is started; the agent beside it reads the variable. */
const AT_START = ['proxyStatsMatcher', 'extraStatTags', 'runtimeValues', 'statsdUdpAddress', 'envoyAccessLogService'] as const;

const atStart = (config: MeshProxyConfigSpec): Readonly<Record<string, string>> => {
  const { tracing } = config;
  const said = Object.fromEntries(AT_START.flatMap((field) => (config[field] === undefined ? [] : [[field, config[field]]])));
  const reported = tracing?.zipkin !== undefined || tracing?.datadog !== undefined ? { ...said, tracing } : said;
  return Object.keys(reported).length === 0 ? {} : { PROXY_CONFIG: JSON.stringify(reported) };
};

/** Annotations that a proxy has to know before it is configured. */
const READ_AT_START: readonly string[] = [
  'sidecar.istio.io/statsHistogramBuckets',
  'prometheus.istio.io/merge-metrics',
  ...['scrape', 'scheme', 'port', 'path'].map((name) => `prometheus.io/${name}`),
];

const annotationsAtStart = (annotations: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  const read = Object.fromEntries(Object.entries(annotations).filter(([name]) => READ_AT_START.includes(name)));
  return Object.keys(read).length === 0 ? {} : { ISTIO_METAJSON_ANNOTATIONS: JSON.stringify(read) };
};

const INJECT = 'sidecar.istio.io/inject';

const planWorkload = (
  resource: Resource<'Workload'>,
  namespaceLabels: Readonly<Record<string, string>>,
  proxy: ProxyPlan,
): WorkloadPlan => {
  const { spec, annotations, labels } = resource;
  const command = spec.command ?? [];
  const gateway = command.length === 0 && annotations['inject.istio.io/templates'] === 'gateway';
  const ports = (spec.ports ?? []).map(({ name, port }) => ({ name: name ?? '', port }));
  return {
    name: resource.name,
    namespace: resource.namespace,
    kind: gateway ? 'gateway' : 'application',
    meshed: gateway || isMeshed(labels[INJECT] ?? annotations[INJECT], namespaceLabels['istio-injection']),
    labels,
    serviceAccount: spec.serviceAccount ?? 'default',
    replicas: Math.max(0, spec.replicas ?? 1),
    command,
    workingDir: spec.workingDir,
    env: spec.env ?? {},
    ports,
    readiness: spec.readiness === undefined ? undefined : planReadiness(spec.readiness, ports),
    capture: captureAnnotations(annotations),
    proxy: { ...proxy, env: { ...proxy.env, ...annotationsAtStart(annotations) } },
  };
};

/** Istio's rule: the workload's word counts, else the namespace's; a namespace that says "disabled" cannot be overruled. */
export const isMeshed = (workload: string | undefined, namespace: string | undefined): boolean => {
  if (namespace === 'disabled') return false;
  if (workload !== undefined) return workload === 'true';
  return namespace === 'enabled';
};

type Readiness = NonNullable<Resource<'Workload'>['spec']['readiness']>;

const planReadiness = (readiness: Readiness, ports: WorkloadPlan['ports']): ReadinessPlan | undefined => {
  const probe = planProbe(readiness, ports);
  if (probe === undefined) return undefined;
  const ms = (text: string | undefined, otherwise: number): number =>
    text === undefined ? otherwise : Math.max(50, Number.parseFloat(text) * 1000);
  return {
    probe,
    periodMs: ms(readiness.period, 1000),
    timeoutMs: ms(readiness.timeout, 1000),
    failures: Math.max(1, readiness.failureThreshold ?? 3),
  };
};

const planProbe = ({ httpGet, tcpSocket, exec }: Readiness, ports: WorkloadPlan['ports']): ReadinessPlan['probe'] | undefined => {
  const portOf = (port: number | string): number => {
    const found = typeof port === 'number' ? port : (ports.find((p) => p.name === port)?.port ?? Number(port));
    if (!Number.isInteger(found)) throw new Error(`readiness: there is no port named "${port}"`);
    return found;
  };
  if (httpGet !== undefined) return { kind: 'http', path: httpGet.path ?? '/', port: portOf(httpGet.port) };
  if (tcpSocket !== undefined) return { kind: 'tcp', port: portOf(tcpSocket.port) };
  return exec === undefined ? undefined : { kind: 'exec', command: exec.command };
};

// Istio's annotations that change redirection.
const captureAnnotations = (annotations: Readonly<Record<string, string>>): Partial<CaptureOptions> => {
  const list = (name: string): string[] | undefined =>
    annotations[`traffic.sidecar.istio.io/${name}`]
      ?.split(',')
      .map((v) => v.trim())
      .filter((v) => v !== '');
  const numbers = (name: string): number[] | undefined => list(name)?.map(Number);
  const all = (values: readonly string[] | undefined): boolean => values?.[0] === '*';
  const inbound = list('includeInboundPorts');
  const excludeInbound = numbers('excludeInboundPorts');
  const cidrs = list('includeOutboundIPRanges');
  const excludeCidrs = list('excludeOutboundIPRanges');
  const outbound = numbers('includeOutboundPorts');
  const excludeOutbound = numbers('excludeOutboundPorts');
  return {
    ...(inbound === undefined ? {} : { inboundPorts: all(inbound) ? '*' : inbound.map(Number) }),
    ...(excludeInbound === undefined ? {} : { excludeInboundPorts: [15090, 15021, 15020, ...excludeInbound] }),
    ...(cidrs === undefined ? {} : { outboundCidrs: all(cidrs) ? '*' : cidrs }),
    ...(excludeCidrs === undefined ? {} : { excludeOutboundCidrs: excludeCidrs }),
    ...(outbound === undefined ? {} : { outboundPorts: outbound }),
    ...(excludeOutbound === undefined ? {} : { excludeOutboundPorts: excludeOutbound }),
  };
};
