// The scenarios: what is measured, with which load, and who takes part. Data only.
import { NONE, TELEMETRY_ROWS } from './telemetry/rows.ts';

export type ScenarioId = 'a' | 'b' | 'c' | 'd' | 'e' | 'f' | 'g' | 'h' | 'i';
/** Which way through a contender a scenario takes. */
export type Path = 'one-hop' | 'two-hops' | 'two-hops-h2' | 'one-hop-grpc' | 'two-hops-tcp' | 'inbound-tls';
export type LoadKind = 'wrk' | 'h2load' | 'bulk' | 'open-loop' | 'churn' | 'idle';

export interface Scenario {
  readonly id: ScenarioId;
  /** It can be chosen by this too. */
  readonly alias?: string;
  readonly title: string;
  readonly path: Path;
  readonly load: LoadKind;
  /** Heading and divisor of the CPU column. */
  readonly cpuLabel: string;
  readonly cpuUnits: number;
  readonly rateLabel: string;
  readonly contenders: readonly string[];
  /** Its contenders are started for it and ended after it, and take part in no other; the first is what the others are compared with. */
  readonly own?: true;
}

const PER_REQUEST = { cpuLabel: 'CPU s per 10,000', cpuUnits: 10_000, rateLabel: 'requests/s' } as const;
const DIRECT = ['direct', 'direct-mesh'] as const;
const ENVOYS = ['envoy', 'envoy-full'] as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    id: 'a',
    title: 'One hop, plain HTTP/1.1, 1 kB, 32 connections',
    path: 'one-hop',
    load: 'wrk',
    ...PER_REQUEST,
    contenders: [...DIRECT, 'skein', 'skein-bare', ...ENVOYS, 'nginx', 'haproxy'],
  },
  {
    id: 'b',
    title: 'Two hops, mTLS, HTTP/1.1, 1 kB, 32 connections',
    path: 'two-hops',
    load: 'wrk',
    ...PER_REQUEST,
    contenders: [...DIRECT, 'skein', 'skein-bare', 'skein-full', 'envoy-mesh', ...ENVOYS, 'nginx', 'haproxy'],
  },
  {
    id: 'c',
    title: 'Two hops, mTLS, HTTP/2 from end to end, 1 kB, 8 connections with 4 streams each',
    path: 'two-hops-h2',
    load: 'h2load',
    ...PER_REQUEST,
    contenders: [...DIRECT, 'skein', 'skein-full', ...ENVOYS, 'nginx', 'haproxy'],
  },
  {
    id: 'd',
    title: 'One hop, plain HTTP/2 as gRPC uses it (POST, trailers), 8 connections with 32 streams each',
    path: 'one-hop-grpc',
    load: 'h2load',
    ...PER_REQUEST,
    contenders: [...DIRECT, 'skein', 'skein-full', ...ENVOYS, 'nginx', 'haproxy'],
  },
  {
    id: 'e',
    title: 'TCP bulk over two mTLS hops, one connection',
    path: 'two-hops-tcp',
    load: 'bulk',
    cpuLabel: 'CPU s per GiB',
    cpuUnits: 1,
    rateLabel: 'MB/s',
    contenders: [...DIRECT, 'skein', 'envoy', 'nginx', 'haproxy'],
  },
  {
    id: 'f',
    title: '1,000 requests/s on 16 connections, open loop, two hops, mTLS, HTTP/1.1; latency from the due time',
    path: 'two-hops',
    load: 'open-loop',
    ...PER_REQUEST,
    contenders: [...DIRECT, 'skein', ...ENVOYS, 'nginx', 'haproxy'],
  },
  {
    id: 'g',
    title: 'Connection churn: each request on a new connection through TCP over two mTLS hops, 16 at a time',
    path: 'two-hops-tcp',
    load: 'churn',
    cpuLabel: 'CPU s per 10,000',
    cpuUnits: 10_000,
    rateLabel: 'connections/s',
    contenders: ['skein', 'envoy', 'nginx', 'haproxy'],
  },
  {
    id: 'h',
    title: 'Idle connections: memory of the inbound hop per mTLS connection, medians of steps',
    path: 'inbound-tls',
    load: 'idle',
    cpuLabel: 'CPU s per 10,000',
    cpuUnits: 10_000,
    rateLabel: 'connections/s',
    contenders: ['skein', 'envoy', 'nginx', 'haproxy'],
  },
  {
    id: 'i',
    alias: 'telemetry',
    title: 'Cost of telemetry: metrics, JSON log and 1 % traces, over none; collectors that fail; taps. Two hops, mTLS, HTTP/1.1',
    path: 'two-hops',
    load: 'wrk',
    ...PER_REQUEST,
    contenders: TELEMETRY_ROWS.map((row) => row.name),
    own: true,
  },
];

export const CONTENDERS: readonly string[] = [
  'direct',
  'direct-mesh',
  'skein',
  'skein-bare',
  'skein-full',
  'envoy-mesh',
  'envoy',
  'envoy-full',
  'nginx',
  'haproxy',
  ...TELEMETRY_ROWS.map((row) => row.name),
];

const OWN: ReadonlySet<string> = new Set(SCENARIOS.flatMap((s) => (s.own === true ? s.contenders : [])));

/** Who takes part: the table above; whoever is asked for by name takes part wherever it can. The direct rows come along with their network. */
export const takesPart = (scenario: Scenario, name: string, only: readonly string[] | undefined): boolean => {
  if (only === undefined) return scenario.contenders.includes(name);
  if (scenario.own === true)
    return (
      scenario.contenders.includes(name) && (only.includes(name) || (name === NONE && scenario.contenders.some((n) => only.includes(n))))
    );
  if (OWN.has(name)) return false;
  if (only.includes(name)) return true;
  const inMesh = only.some((n) => n === 'skein' || n === 'envoy-mesh');
  const onHost = only.some((n) => !OWN.has(n) && n !== 'skein' && n !== 'envoy-mesh' && n !== 'direct-mesh');
  return scenario.contenders.includes(name) && ((name === 'direct-mesh' && inMesh) || (name === 'direct' && onHost));
};
