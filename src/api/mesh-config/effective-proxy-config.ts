// What the proxies of a workload are started with: the mesh's defaultConfig, then the kind ProxyConfig for the mesh and for the
// namespace, then the workload's annotation, then the kind ProxyConfig that selects the workload. Of several for one place the
// oldest counts; variables are joined, every other field is taken whole.

import { Findings } from '../findings.ts';
import type { Problem } from '../problem.ts';
import { readValue } from '../reading/read-value.ts';
import { readYaml } from '../reading/yaml-documents.ts';
import type { Resource } from '../resource.ts';
import { proxyConfig } from '../schema/mesh-proxy-config.ts';
import type { MeshProxyConfigSpec } from '../specs.ts';
import { warnUnsupported } from '../support/check-support.ts';

export const PROXY_CONFIG_ANNOTATION = 'proxy.istio.io/config';

/** Fields of the annotation that change how a proxy is started. */
const EFFECTIVE = [
  '{concurrency,drainDuration,terminationDrainDuration,proxyMetadata,proxyStatsMatcher,extraStatTags,runtimeValues,statsdUdpAddress}.**',
  'tracing.{zipkin,datadog}.**',
  'envoyAccessLogService.address',
];

export interface ProxyConfigSources {
  readonly policies: readonly Resource<'ProxyConfig'>[];
  readonly defaults: MeshProxyConfigSpec;
  readonly rootNamespace: string;
}

type Workload = Pick<Resource, 'namespace' | 'labels' | 'annotations' | 'origin'>;

export const effectiveProxyConfig = (
  { policies, defaults, rootNamespace }: ProxyConfigSources,
  workload: Workload,
): { readonly config: MeshProxyConfigSpec; readonly problems: readonly Problem[] } => {
  const sorted = [...policies].sort((a, b) => compare(ageOf(a), ageOf(b)) || compare(a.name, b.name));
  const wide = (namespace: string): MeshProxyConfigSpec => written(sorted.find((p) => p.namespace === namespace && isWide(p)));
  const own = sorted.find((p) => p.namespace === workload.namespace && !isWide(p) && selects(p, workload.labels));
  const annotation = readAnnotation(workload);
  const levels = [
    wide(rootNamespace),
    ...(workload.namespace === rootNamespace ? [] : [wide(workload.namespace)]),
    annotation.config,
    written(own),
  ];
  return { config: levels.reduce(over, defaults), problems: annotation.problems };
};

const compare = <T extends string | number>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);
const ageOf = (p: Resource): number => Date.parse(p.creationTimestamp ?? '') || 0;
const isWide = (p: Resource<'ProxyConfig'>): boolean => Object.keys(p.spec.selector?.matchLabels ?? {}).length === 0;
const selects = (p: Resource<'ProxyConfig'>, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(p.spec.selector?.matchLabels ?? {}).every(([key, value]) => labels[key] === value);

const written = (policy: Resource<'ProxyConfig'> | undefined): MeshProxyConfigSpec => {
  const { concurrency, environmentVariables } = policy?.spec ?? {};
  return {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(environmentVariables === undefined ? {} : { proxyMetadata: environmentVariables }),
  };
};

const over = (under: MeshProxyConfigSpec, upper: MeshProxyConfigSpec): MeshProxyConfigSpec => {
  const variables = { ...under.proxyMetadata, ...upper.proxyMetadata };
  return { ...under, ...upper, ...(Object.keys(variables).length === 0 ? {} : { proxyMetadata: variables }) };
};

const readAnnotation = (workload: Workload): { readonly config: MeshProxyConfigSpec; readonly problems: readonly Problem[] } => {
  const text = workload.annotations[PROXY_CONFIG_ANNOTATION];
  if (text === undefined) return { config: {}, problems: [] };
  const { file } = workload.origin;
  const path = `metadata.annotations[${JSON.stringify(PROXY_CONFIG_ANNOTATION)}]`;
  const place = { file, ...workload.origin.at(path), path };
  const yaml = readYaml(file, text);
  const syntax = yaml.documents.flatMap((d) => d.problems).find((p) => p.severity === 'error');
  if (syntax !== undefined) return { config: {}, problems: [{ ...syntax, ...place }] };
  const root = yaml.documents.find((d) => d.root)?.root;
  if (root === undefined) return { config: {}, problems: [] };
  const findings = new Findings();
  const config = readValue(proxyConfig, root, '', findings);
  warnUnsupported(`annotation ${PROXY_CONFIG_ANNOTATION}`, { supported: EFFECTIVE }, config, findings);
  const problems = findings.list.map(({ code, severity, path: inner, message }) => ({
    ...place,
    code,
    severity,
    message: inner === '' ? message : `${inner}: ${message}`,
  }));
  return { config: findings.failed ? {} : config, problems };
};
