// What Istio's own Grafana dashboards ask, answered by a real Prometheus that reads the live shop, beside what a generator did. A burst lies
// between two scrapes of every sidecar that has part in it, so a rate is exactly what was done over the time between the two.
import { ISTIO_CONTROL_PLANE, type IstioExpression, istioExpressions } from '../dashboards/istio-expressions.ts';
import type { CountedResult, CountedStep } from './counted-load.ts';
import { expectedOf, type Told } from './expected-rates.ts';
import type { Mesh, WorkloadStatus } from './mesh.ts';
import { type Prometheus, type Sample, SCRAPE_S } from './prometheus.ts';
import { expect } from './suite.ts';

const CALLER = 'echo';
const NAMESPACE = 'production';
const HOST = 'payment-service.production.svc.cluster.local';
const STORE = 'stock.production.svc.cluster.local';
const CODES_URL = 'http://payment-service:8080';
const TRIES = 5;
/** A scrape's text is made a little after the time that it is told with, and the last report a little after the last answer. */
const AFTER_SCRAPE_MS = 120;
const AFTER_BURST_MS = 60;

const steps = (n: number): readonly CountedStep[] => [
  { name: 'version', url: `${CODES_URL}/version`, count: 8 * n },
  { name: 'missing', url: `${CODES_URL}/nothing`, count: 4 * n },
  { name: 'refused', url: `${CODES_URL}/version`, count: 4 * n, header: ['x-counted', 'refuse'] },
  { name: 'late', url: `${CODES_URL}/version`, count: 20 * n, header: ['x-counted', '35'] },
  { name: 'later', url: `${CODES_URL}/version`, count: 6 * n, header: ['x-counted', '170'] },
  { name: 'sized', url: `${CODES_URL}/api/v1/charge`, count: 6 * n, bodyBytes: 3000 },
];
const store = (n: number): readonly CountedStep[] => [{ name: 'store', url: 'tcp://stock:6379', count: 8 * n, pings: 5 }];

type Generate = (steps: readonly CountedStep[]) => Promise<CountedResult>;

/** `generate`: from the caller. The rules that its headers ask for are in force. What the shop does of itself is held still meanwhile. */
export const dashboardsAgree = async (mesh: Mesh, prometheus: Prometheus, generate: Generate): Promise<string> => {
  const { pid } = mesh.process('application', (await mesh.workload('loadgen')).name);
  process.kill(pid, 'SIGSTOP');
  try {
    return await compareAll(mesh, prometheus, generate);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
};

const compareAll = async (mesh: Mesh, prometheus: Prometheus, generate: Generate): Promise<string> => {
  const { workloads } = JSON.parse((await mesh.skein('status', '-o', 'json')).out) as { readonly workloads: readonly WorkloadStatus[] };
  const named = (app: string): readonly WorkloadStatus[] => workloads.filter((w) => w.labels['app'] === app);
  const ends: Ends = { caller: (await mesh.workload(CALLER)).name, payment: named('payment-service'), stock: named('stock') };
  // Much more than what is looked at, so that no replica's series begins with it.
  await generate([...steps(8), ...store(3)]);
  const inQuiet = (of: readonly CountedStep[], servers: readonly WorkloadStatus[]): Promise<Burst> =>
    straddled(prometheus, generate, of, [ends.caller, ...servers.map((w) => w.name)]);
  const http = await inQuiet(steps(1), ends.payment);
  const tcp = await inQuiet(store(1), ends.stock);
  const problems: string[] = [];
  let rows = 0;
  for (const { burst, told } of [
    { burst: http, told: httpTold(http.load, ends) },
    { burst: tcp, told: tcpTold(tcp.load, ends) },
  ])
    for (const expression of istioExpressions()) {
      const compared = await compare({ prometheus, expression, burst, told });
      problems.push(...compared.problems);
      rows += compared.rows;
    }
  expect(problems.length === 0, `${problems.length} differences:\n${problems.slice(0, 12).join('\n')}`);
  expect(rows >= 120, `only ${rows} numbers were compared`);
  for (const text of ISTIO_CONTROL_PLANE)
    expect((await prometheus.query(text.replaceAll('$__rate_interval', '1m'))).length > 0, `nothing answers ${text}`);
  return `${istioExpressions().length} expressions, ${rows} numbers`;
};

interface Ends {
  readonly caller: string;
  readonly payment: readonly WorkloadStatus[];
  readonly stock: readonly WorkloadStatus[];
}

interface Burst {
  /** From here on nothing else was done, and everyone was read before the burst. */
  readonly quiet: number;
  readonly load: CountedResult;
  /** Every target was read once since the burst, and not twice. */
  readonly at: number;
  /** Between the two scrapes around it, by pod. */
  readonly seconds: ReadonlyMap<string, number>;
}

const straddled = async (
  prometheus: Prometheus,
  generate: Generate,
  of: readonly CountedStep[],
  pods: readonly string[],
): Promise<Burst> => {
  let why = '';
  for (let i = 0; i < TRIES; i++) {
    const quiet = Date.now() / 1000;
    await prometheus.scraped();
    const begin = await nextGap(prometheus, pods);
    const [first, ...rest] = of;
    const load = await generate(first === undefined ? [] : [{ ...first, at: begin * 1000 }, ...rest]);
    const at = begin + SCRAPE_S;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, at * 1000 - Date.now() + 200)));
    const [began, ended] = [Math.min(...Object.values(load).map((l) => l.began)), Math.max(...Object.values(load).map((l) => l.ended))];
    const seconds = new Map<string, number>();
    for (const pod of pods) {
      const [before = 0, after = 0] = (await prometheus.scrapes(pod, '1m', at)).slice(-2);
      if (before * 1000 + AFTER_SCRAPE_MS <= began + 1 && ended + AFTER_BURST_MS <= after * 1000) seconds.set(pod, after - before);
      else why = `${pod} was read at ${before} and ${after}, the burst was from ${began / 1000} to ${ended / 1000}`;
    }
    if (seconds.size === pods.length) return { load, at, seconds, quiet };
  }
  throw new Error(`no burst lay between two scrapes of everyone: ${why}`);
};

/** When the longest time begins in which nobody of them is read, far enough from now. */
const nextGap = async (prometheus: Prometheus, pods: readonly string[]): Promise<number> => {
  const now = Date.now() / 1000;
  const last: number[] = [];
  for (const pod of pods) {
    const scrape = (await prometheus.scrapes(pod, '1m', now)).at(-1);
    if (scrape === undefined) throw new Error(`${pod} was never read`);
    last.push(scrape % SCRAPE_S);
  }
  last.sort((a, b) => a - b);
  const gaps = last.map((from, i) => ({ from, length: (last[i + 1] ?? (last[0] ?? 0) + SCRAPE_S) - from }));
  const { from } = gaps.reduce((best, gap) => (gap.length > best.length ? gap : best));
  // A process is to be started before it.
  const start = now + 1;
  return Math.floor(start / SCRAPE_S) * SCRAPE_S + from + AFTER_SCRAPE_MS / 1000 + (start % SCRAPE_S > from ? SCRAPE_S : 0);
};

const told = (
  reporter: 'source' | 'destination',
  pod: string,
  labels: Readonly<Record<string, string>>,
  values: Partial<Told['values']>,
  durations: Told['durations'] = [],
): Told => ({
  pod,
  labels: {
    reporter,
    source_workload: CALLER,
    source_workload_namespace: NAMESPACE,
    connection_security_policy: reporter === 'source' ? 'unknown' : 'mutual_tls',
    destination_workload_namespace: NAMESPACE,
    ...labels,
  },
  values: { requests: 0, received: 0, sent: 0, connections: 0, ...values },
  durations,
  sizes: [],
});

/** By step: the caller's sidecar waits before it calls. */
const HELD_MS: Readonly<Record<string, number>> = { late: 35, later: 170 };

/** What each sidecar has to say of the answers that came. Whose duration it was, the generator knows for all of a step alone. */
const httpTold = (load: CountedResult, { caller, payment }: Ends): readonly Told[] =>
  Object.entries(load).flatMap(([step, { answers, durationsMs, sentBytes, receivedBytes }]) => {
    const of = durationsMs.length;
    let taken = 0;
    return Object.entries(answers).flatMap(([answer, n]) => {
      const [code = '', instance = ''] = answer.split(' ');
      const served = payment.find((w) => w.name === instance);
      const seen = durationsMs.slice(taken, taken + n);
      taken += n;
      const durations = seen.map((seenMs) => ({ seenMs, heldMs: HELD_MS[step] ?? 0 }));
      const sizes = seen.map(() => ({ request: sentBytes / of, response: receivedBytes / of }));
      const labels = { destination_service: HOST, response_code: code };
      // Refused by the caller's own sidecar: it went nowhere.
      if (served === undefined) {
        const nowhere = { ...labels, destination_workload: 'unknown', destination_workload_namespace: 'unknown' };
        return [{ ...told('source', caller, nowhere, { requests: n }, durations), sizes }];
      }
      const there = { ...labels, destination_workload: `payment-${served.labels['version']}` };
      return [
        { ...told('source', caller, there, { requests: n }, durations), sizes },
        {
          ...told(
            'destination',
            served.name,
            there,
            { requests: n },
            durations.map(({ seenMs }) => ({ seenMs, heldMs: 0 })),
          ),
          sizes,
        },
      ];
    });
  });

const tcpTold = (load: CountedResult, { caller, stock }: Ends): readonly Told[] => {
  const step = load['store'];
  const labels = { destination_service: STORE, destination_workload: 'stock' };
  const values = { received: step?.sentBytes ?? -1, sent: step?.receivedBytes ?? -1, connections: 8 };
  return [told('source', caller, labels, values), told('destination', stock[0]?.name ?? '', labels, values)];
};

interface Comparison {
  readonly prometheus: Prometheus;
  readonly expression: IstioExpression;
  readonly burst: Burst;
  readonly told: readonly Told[];
}

const compare = async (c: Comparison): Promise<{ readonly problems: readonly string[]; readonly rows: number }> => {
  const { prometheus, expression, burst } = c;
  const problems: string[] = [];
  let rows = 0;
  const service = c.told[0]?.labels['destination_service'] ?? '';
  for (const qrep of ['source', 'destination']) {
    if (qrep === 'destination' && !expression.text.includes('$qrep')) continue;
    const isInstant = expression.text.includes('irate(');
    const spans = isInstant ? burst.seconds : await spansOf(prometheus, burst);
    const window = isInstant ? '5m' : `${Math.round((burst.at - burst.quiet) * 1000)}ms`;
    const text = filled(expression.text, { qrep, service, window });
    const wanted = expectedOf(expression.form, text, c.told, spans);
    const answered = await prometheus.query(text, burst.at);
    rows += wanted.length;
    for (const { labels, near } of wanted) {
      const found = answered.find((sample) => Object.entries(labels).every(([name, value]) => sample.labels[name] === value));
      const problem = near(found?.value);
      if (problem !== undefined) problems.push(`${expression.panel}, ${qrep} ${Object.values(labels).join('/')}: ${problem}\n  ${text}`);
    }
    problems.push(...strange(answered, wanted, service).map((row) => `${expression.panel}, ${qrep}: nobody did ${row}\n  ${text}`));
  }
  return { problems, rows };
};

const spansOf = async (prometheus: Prometheus, burst: Burst): Promise<ReadonlyMap<string, number>> => {
  const spans = new Map<string, number>();
  for (const pod of burst.seconds.keys()) {
    const all = await prometheus.scrapes(pod, `${Math.round((burst.at - burst.quiet) * 1000)}ms`, burst.at);
    spans.set(pod, (all.at(-1) ?? 0) - (all[0] ?? 0));
  }
  return spans;
};

/** Of the service that was called: a number where nothing was done. */
const strange = (
  answered: readonly Sample[],
  wanted: readonly { readonly labels: Sample['labels'] }[],
  service: string,
): readonly string[] =>
  answered
    .filter(({ labels, value }) => {
      const isOther = labels['destination_service'] !== undefined && labels['destination_service'] !== service;
      const isWanted = wanted.some((w) => Object.entries(w.labels).every(([name, text]) => labels[name] === text));
      return !isOther && !isWanted && value > 0;
    })
    .map(({ labels, value }) => `${JSON.stringify(labels)} ${value}`);

const filled = (
  text: string,
  { qrep, service, window }: { readonly qrep: string; readonly service: string; readonly window: string },
): string =>
  text
    .replaceAll('$__rate_interval', window)
    .replaceAll('$qrep', qrep)
    .replaceAll('$service', service)
    .replaceAll('$dstsvc', service)
    .replaceAll('$srcwl', CALLER)
    .replaceAll('$srcns', NAMESPACE)
    .replaceAll('$dstwl', service === HOST ? 'payment-v1|payment-v2' : 'stock')
    .replaceAll('$dstns', NAMESPACE);
