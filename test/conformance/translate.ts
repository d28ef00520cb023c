// npm run conformance -- --oracle DIR --translate: our answer beside the recorded answers of a real istiod. The same YAML, mesh
// configuration and node go through the product's own reader and translation; what istiod refuses must be refused.

import { parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { buildSnapshot } from '../../src/mesh/snapshot.ts';
import { parseNode } from '../../src/translate/proxy-node.ts';
import { type ProxyConfig, translate } from '../../src/translate/translate.ts';
import type { Node } from '../../src/xds/gen/types.ts';
import { compareResources, type Difference, RESOURCE_TYPES, type ResourceType, RULES } from './translate-compare.ts';
import { loadRecordedConfigs, type RecordedConfig } from './translate-records.ts';

/** What a proxy of Istio's announces. The recorder's node does not say it; what it was answered, or its file's name, does. */
const ISTIO_EXTENSIONS = [
  { name: 'istio.alpn', type_urls: ['istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig'] },
  { name: 'envoy.filters.http.peer_metadata', type_urls: ['io.istio.http.peer_metadata.Config'] },
  { name: 'envoy.filters.network.metadata_exchange', type_urls: ['envoy.tcp.metadataexchange.config.MetadataExchange'] },
  { name: 'istio.stats', type_urls: ['stats.PluginConfig'] },
  // Who announces anything announces what it enforces: Envoy has these.
  ...['http.rbac', 'http.jwt_authn', 'http.ext_authz', 'network.rbac', 'network.ext_authz'].map((name) => ({
    name: `envoy.filters.${name}`,
  })),
];

/** The recording's own word on configurations that a server may refuse instead of answering as istiod does from files. */
const REFUSABLE = 'may be refused by validation';

export interface Failure {
  /** `record resource path`. */
  readonly id: string;
  readonly expected: unknown;
  readonly got: unknown;
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface TranslateReport extends Counts {
  readonly files: Readonly<Record<string, Counts>>;
  readonly failures: readonly Failure[];
  readonly skips: readonly { readonly id: string; readonly reason: string }[];
  /** Resources that mean the same, of all. */
  readonly types: Readonly<Record<ResourceType, { equal: number; total: number }>>;
  readonly ignored: readonly { readonly rule: string; readonly why: string; readonly count: number }[];
}

type Verdict =
  | { readonly kind: 'passed' }
  | { readonly kind: 'skipped'; readonly reason: string }
  | { readonly kind: 'failed'; readonly failures: readonly Failure[] };

type Note = (type: ResourceType, equal: number, total: number) => void;

/** `only`: names of records or of the configurations they belong to; all when empty. */
export const checkTranslation = (folder: string, only: readonly string[]): TranslateReport => {
  const ignored = new Map<string, number>();
  const types = Object.fromEntries(RESOURCE_TYPES.map((t) => [t, { equal: 0, total: 0 }])) as Record<
    ResourceType,
    { equal: number; total: number }
  >;
  const all: Counts = { passed: 0, failed: 0, skipped: 0 };
  const files: Record<string, Counts> = {};
  const failures: Failure[] = [];
  const skips: { id: string; reason: string }[] = [];
  for (const record of loadRecordedConfigs(folder)) {
    if (only.length > 0 && !only.includes(record.name) && !only.includes(record.name.split('/')[0] ?? '')) continue;
    const verdict = judge(
      record,
      (rule) => void ignored.set(rule, (ignored.get(rule) ?? 0) + 1),
      (type, equal, total) => {
        types[type].equal += equal;
        types[type].total += total;
      },
    );
    files[record.file] ??= { passed: 0, failed: 0, skipped: 0 };
    for (const counts of [all, files[record.file]]) if (counts !== undefined) counts[verdict.kind]++;
    if (verdict.kind === 'failed') failures.push(...verdict.failures);
    if (verdict.kind === 'skipped') skips.push({ id: record.name, reason: verdict.reason });
  }
  const used = RULES.map((r) => ({ rule: r.id, why: r.why, count: ignored.get(r.id) ?? 0 }));
  return { ...all, files, failures, skips, types, ignored: used };
};

const judge = (record: RecordedConfig, ignore: (rule: string) => void, note: Note): Verdict => {
  const switches = Object.keys(record.env);
  if (switches.length > 0) return { kind: 'skipped', reason: `recorded with switches of that control plane: ${switches.join(', ')}` };
  const read = readConfig(record);
  if (record.rejected !== undefined) {
    if (read.refused.length > 0) return { kind: 'passed' };
    return failed(`${record.name} refused`, record.rejected, 'accepted');
  }
  if (read.refused.length > 0) {
    if (record.description !== REFUSABLE) return failed(`${record.name} accepted`, 'accepted', read.refused);
    ignore('refused');
    return { kind: 'passed' };
  }
  if (record.node === undefined) return { kind: 'passed' };
  const config = answer(record, record.node, read);
  if (config === undefined) return failed(`${record.name} node`, 'a proxy of the mesh', record.node['id']);
  const differences: Difference[] = [];
  for (const type of RESOURCE_TYPES) {
    const ours = config[type] ?? [];
    const result = compareResources(type, record[type], ours, record.yaml, ignore);
    note(type, result.equal, result.total);
    differences.push(...result.differences);
  }
  if (differences.length === 0) return { kind: 'passed' };
  return {
    kind: 'failed',
    failures: differences.map((d) => ({
      id: `${record.file} ${record.name} ${d.type} ${d.resource} ${d.path}`,
      expected: d.expected ?? null,
      got: d.got ?? null,
    })),
  };
};

const failed = (id: string, expected: unknown, got: unknown): Verdict => ({ kind: 'failed', failures: [{ id, expected, got }] });

interface ReadConfig {
  readonly resources: Parameters<typeof buildSnapshot>[0]['resources'];
  readonly mesh: ReturnType<typeof parseMeshConfig>;
  readonly refused: readonly string[];
}

/** As the product reads it: everything that is an error for it refuses the record. */
const readConfig = (record: RecordedConfig): ReadConfig => {
  const { resources, problems } = parseDocuments('config.yaml', record.yaml);
  const mesh = parseMeshConfig('mesh.yaml', JSON.stringify(record.meshConfig));
  const errors = [...problems, ...(mesh.ok ? [] : mesh.error)].filter((p) => p.severity === 'error');
  return { resources, mesh, refused: errors.map((p) => `${p.code} ${p.path}: ${p.message}`) };
};

const answer = (record: RecordedConfig, node: NonNullable<RecordedConfig['node']>, read: ReadConfig): ProxyConfig | undefined => {
  if (!read.mesh.ok) return undefined;
  const { snapshot } = buildSnapshot({ resources: read.resources, meshConfig: read.mesh.value.config, instances: [] });
  const announced = isIstios(record) ? { extensions: ISTIO_EXTENSIONS } : {};
  const proxy = parseNode({ ...node, ...announced } as Node);
  return proxy === undefined ? undefined : translate(snapshot, proxy);
};

const isIstios = (record: RecordedConfig): boolean =>
  record.file.includes('istio') || /"istio\.(alpn|metadata_exchange)"/.test(JSON.stringify([record.listeners, record.clusters]));

/** For people: what failed by path, what was left out and why, totals. */
export const printTranslation = (report: TranslateReport): string => {
  const lines: string[] = [];
  for (const s of report.skips) lines.push(`skip ${s.id}: ${s.reason}`);
  for (const f of report.failures) lines.push('', f.id, `  expected ${short(f.expected)}`, `  got      ${short(f.got)}`);
  lines.push('', 'not compared:');
  for (const r of report.ignored) lines.push(`  ${String(r.count).padStart(6)} × ${r.rule}: ${r.why}`);
  for (const [type, t] of Object.entries(report.types)) lines.push(`${type}: ${t.equal} of ${t.total} equal`);
  for (const [file, c] of Object.entries(report.files)) lines.push(`${file}: ${counts(c)}`);
  lines.push(counts(report));
  return `${lines.join('\n')}\n`;
};

const counts = (c: Counts): string => `${c.passed} passed, ${c.failed} failed, ${c.skipped} skipped`;

const short = (v: unknown): string => {
  const text = JSON.stringify(v) ?? 'nothing';
  return text.length > 600 ? `${text.slice(0, 600)} …` : text;
};
