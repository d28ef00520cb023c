// The recorded behaviour: scenarios with request vectors, and the xDS that drove them. Format: the README beside the recordings.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Workload {
  readonly name: string;
  readonly service?: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly listening?: boolean;
}
export interface VectorRequest {
  readonly method?: string;
  readonly path?: string;
  /** null: no Host header at all. */
  readonly host?: string | null;
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [string, string])[];
  readonly body?: string;
  readonly port?: number;
  readonly from?: string;
  readonly to?: string;
  readonly bind?: string;
  readonly version?: string;
  readonly tls?: { readonly sni?: string; readonly alpn?: readonly string[]; readonly cert?: string; readonly max?: string };
  readonly tcp?: string;
  readonly repeat?: number;
  readonly concurrency?: number;
  readonly keepalive?: boolean;
  readonly varyHeader?: string;
  readonly timing?: boolean;
  readonly mapping?: boolean;
  readonly sequence?: boolean;
  /** Seconds to wait before hits are read (mirrors arrive late). */
  readonly settle?: number;
}
export interface Expected {
  readonly status?: number | string;
  readonly backend?: string | null;
  readonly responseHeaders?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly hits?: Readonly<Record<string, number>>;
  readonly seen?: Seen;
  readonly seenElsewhere?: Readonly<Record<string, Seen>>;
  readonly seconds?: { readonly min: number; readonly max: number };
  readonly log?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly statuses?: Readonly<Record<string, number>>;
  readonly backends?: Readonly<Record<string, number>>;
  readonly sequence?: readonly (readonly [number | string, string | null])[];
  readonly mapping?: Readonly<Record<string, readonly string[]>>;
}
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}
export type Vector = { readonly sleep: number } | { readonly request: VectorRequest; readonly expected: Expected };

export interface Scenario {
  readonly name: string;
  readonly features: readonly string[];
  readonly topology: 'gateway' | 'sidecars';
  readonly yaml: string;
  readonly meshConfig: Readonly<Record<string, unknown>>;
  readonly workloads: readonly Workload[];
  readonly extraBackends?: readonly Workload[];
  readonly proxies: readonly string[];
  readonly gatewayLocality?: string;
  readonly nodeMetadata?: Readonly<Record<string, unknown>>;
  readonly nondeterministic?: string;
  readonly vectors: readonly Vector[];
  /** Access log entries without a request's id, by proxy. */
  readonly connectionLog?: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
  readonly rejectedByProxy?: unknown;
}
export interface RecordedXds {
  readonly name: string;
  readonly yaml: string;
  readonly meshConfig: unknown;
  readonly node?: { readonly id: string; readonly [key: string]: unknown };
  readonly listeners?: readonly object[];
  readonly clusters?: readonly object[];
  readonly routes?: readonly object[];
  readonly endpoints?: readonly object[];
  readonly extensions?: readonly object[];
}

const lines = (path: string): string[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((l) => l !== '')
    : [];

export const loadScenarios = (dir: string): Scenario[] => {
  const path = join(dir, 'behaviour.jsonl');
  if (!existsSync(path)) throw new Error(`${path} is not there: --oracle names a folder with behaviour.jsonl and xds.jsonl`);
  return lines(path).map((l) => JSON.parse(l) as Scenario);
};

const configKey = (yaml: string, meshConfig: unknown): string => `${yaml}\n${JSON.stringify(meshConfig)}`;

/** Recorded configuration by scenario: the records of the same YAML and mesh configuration, one a node. */
export const loadRecordings = (dir: string): ((scenario: Scenario) => RecordedXds[]) => {
  const byConfig = new Map<string, RecordedXds[]>();
  for (const line of lines(join(dir, 'xds.jsonl'))) {
    const record = JSON.parse(line) as RecordedXds;
    if (!record.node) continue;
    const key = configKey(record.yaml, record.meshConfig);
    byConfig.set(key, [...(byConfig.get(key) ?? []), record]);
  }
  return (scenario) => byConfig.get(configKey(scenario.yaml, scenario.meshConfig)) ?? [];
};
