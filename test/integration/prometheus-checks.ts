// A real Prometheus reads the mesh: what the queries of dashboards made for Istio answer is what the generator did, to the last request.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { metricNames, panelExpressions, ruleExpressions } from '../dashboards/dashboard-files.ts';
import type { CountedResult, CountedStep } from './counted-load.ts';
import { dashboardsAgree } from './istio-dashboard-checks.ts';
import { type Mesh, ROOT } from './mesh.ts';
import { Prometheus, prometheusIsHere } from './prometheus.ts';
import { eventually, expect, type Named, type Suite } from './suite.ts';

/** Nobody else calls it from there. */
const CALLER = 'echo';
const HOST = 'payment-service.production.svc.cluster.local';
const STORE = 'stock.production.svc.cluster.local';
const SOURCE = `reporter="source",source_workload="${CALLER}",source_workload_namespace="production",destination_service="${HOST}"`;
const DESTINATION = SOURCE.replace('"source"', '"destination"');
const TCP = SOURCE.replace(HOST, STORE);

/** By header: refused by the caller's sidecar, or made late by it. */
const RULE = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment-counted, namespace: production}
spec:
  hosts: [payment-service]
  http:
  - match: [{headers: {x-counted: {exact: refuse}}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
    route: [{destination: {host: payment-service}}]
${[35, 170, 700]
  .map(
    (ms) => `  - match: [{headers: {x-counted: {exact: "${ms}"}}}]
    fault: {delay: {percentage: {value: 100}, fixedDelay: ${ms / 1000}s}}
    route: [{destination: {host: payment-service}}]
`,
  )
  .join('')}  - route: [{destination: {host: payment-service}}]
`;

const CHARGE = 'http://payment-service:8080/api/v1/charge';
const steps = (n: number): readonly CountedStep[] => [
  { name: 'version', url: 'http://payment-service:8080/version', count: 12 * n },
  { name: 'missing', url: 'http://payment-service:8080/nothing', count: 3 * n },
  { name: 'refused', url: 'http://payment-service:8080/version', count: 2 * n, header: ['x-counted', 'refuse'] },
  { name: 'store', url: 'tcp://stock:6379', count: n, pings: 5 },
];
/** Made so late that what machine and generator add changes little: 60 % by 35 ms, 35 % by 170 ms, 5 % by 700 ms. */
const timed = (): readonly CountedStep[] =>
  (
    [
      [35, 96],
      [170, 56],
      [700, 8],
    ] as const
  ).map(([ms, count]) => ({
    name: `${ms} ms`,
    url: 'http://payment-service:8080/version',
    count,
    header: ['x-counted', String(ms)],
  }));
const sized = (bodyBytes: number, count: number): readonly CountedStep[] => [{ name: 'sized', url: CHARGE, count, bodyBytes }];

const SIZED = 60;

export const prometheusChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  if (!prometheusIsHere()) {
    suite.skip(named('Prometheus reads the mesh'), 'prometheus', 'there is no prometheus (sh test/setup installs it)');
    return;
  }
  let prometheus: Prometheus | undefined;
  try {
    await suite.check(named('Prometheus finds and reads every sidecar and the control plane'), async () => {
      prometheus = await Prometheus.start(mesh);
      const { length } = JSON.parse(await mesh.ok('prometheus', 'targets', '-o', 'json')) as readonly unknown[];
      const running = prometheus;
      await eventually('every target is up', 15_000, async () => {
        const up = await running.value('sum(up)');
        if (up !== length + 1 || up < 10) throw new Error(`${up} are up, ${length} sidecars are listed`);
        return true;
      });
      return `${length + 1} targets`;
    });
    const running = prometheus;
    if (running === undefined) return;
    await suite.check(named('dashboard queries give the numbers of the load generator'), () => numbersAgree(mesh, running));
    await suite.check(named("what Istio's dashboards ask is what the generator did"), () =>
      withRule(mesh, () => dashboardsAgree(mesh, running, (of) => generate(mesh, of))),
    );
    await suite.check(named('every metric of dashboards and rules is there, and the rules are evaluated'), () => metricsExist(running));
    await suite.check(named('no panel of a dashboard is empty'), () => panelsShow(running));
  } finally {
    await prometheus?.stop();
  }
};

const withRule = async (mesh: Mesh, body: () => Promise<string>): Promise<string> => {
  const applied = await mesh.skeinWith({ input: RULE }, 'apply', '-f', '-');
  expect(applied.code === 0, applied.err);
  try {
    return await body();
  } finally {
    await mesh.skeinWith({ input: RULE }, 'delete', '-f', '-');
  }
};

const numbersAgree = (mesh: Mesh, prometheus: Prometheus): Promise<string> =>
  withRule(mesh, async () => {
    // Series come into being: from here on everything is a difference of two sums.
    await generate(mesh, [...steps(25), ...timed(), ...sized(1000, SIZED)]);
    const quiet = Date.now() / 1000;
    await prometheus.scraped();
    const before = Date.now() / 1000;
    const late = await generate(mesh, timed());
    await prometheus.scraped();
    const timedEnd = Date.now() / 1000;
    const times = await percentiles(prometheus, late, before, timedEnd);
    const load = { ...late, ...(await generate(mesh, steps(50))) };
    await prometheus.scraped();
    const middle = Date.now() / 1000;
    const large = await generate(mesh, sized(3000, SIZED));
    await prometheus.scraped();
    const after = Date.now() / 1000;
    const seen: Seen = { prometheus, load: { ...load, ...large }, quiet, before, middle, after };
    await counts(seen);
    await sizes(seen);
    await tcpCounts(seen);
    await shares(seen);
    return `${Object.values(seen.load).reduce((n, l) => n + l.durationsMs.length, 0)} requests; ${times}`;
  });

const generate = async (mesh: Mesh, of: readonly CountedStep[]): Promise<CountedResult> => {
  const ran = await mesh.exec(CALLER, 'bun', join(mesh.dir, 'test/counted-load.ts'), JSON.stringify(of));
  if (ran.code !== 0) throw new Error(`the generator exited ${ran.code}: ${ran.err.slice(-1000)}`);
  return JSON.parse(ran.out.trim().split('\n').at(-1) ?? '{}') as CountedResult;
};

interface Seen {
  readonly prometheus: Prometheus;
  readonly load: CountedResult;
  /** From here to `before` nothing is sent, and a scrape has seen it. */
  readonly quiet: number;
  readonly before: number;
  readonly middle: number;
  readonly after: number;
}

const added = async ({ prometheus, before, after }: Seen, sum: string, [from, to] = [before, after]): Promise<number> =>
  (await prometheus.value(sum, to)) - (await prometheus.value(sum, from));

const agree = (what: string, told: number, done: number): void =>
  expect(told === done, `${what}: Prometheus says ${told}, the generator ${done}`);

const total = (load: CountedResult, key: 'statuses' | 'versions', of: string): number =>
  Object.values(load).reduce((sum, step) => sum + (step[key][of] ?? 0), 0);

const counts = async (seen: Seen): Promise<void> => {
  const { load } = seen;
  for (const status of ['200', '404', '503']) {
    const done = total(load, 'statuses', status);
    expect(done > 0, `the generator has seen no ${status}`);
    agree(`${status} by source`, await added(seen, `sum(istio_requests_total{${SOURCE},response_code="${status}"})`), done);
    // What the caller's sidecar refuses arrives nowhere.
    const arrived = status === '503' ? 0 : done;
    agree(`${status} by destination`, await added(seen, `sum(istio_requests_total{${DESTINATION},response_code="${status}"})`), arrived);
  }
  for (const version of ['v1', 'v2']) {
    const sum = `sum by (destination_version) (istio_requests_total{${SOURCE},destination_version="${version}"})`;
    agree(`answers of version ${version}`, await added(seen, sum), total(load, 'versions', version));
  }
  const encrypted = `sum(istio_requests_total{${DESTINATION},connection_security_policy="mutual_tls"})`;
  agree('over mutual TLS', await added(seen, encrypted), total(load, 'statuses', '200') + total(load, 'statuses', '404'));
};

/** Sums of sizes hold headers too: of requests that are alike, each has as many bytes. */
const sizes = async (seen: Seen): Promise<void> => {
  const { load, before, middle, after } = seen;
  const large = await added(seen, `sum(istio_request_bytes_sum{${SOURCE},response_code="200"})`, [middle, after]);
  const counted = await added(seen, `sum(istio_request_bytes_count{${SOURCE},response_code="200"})`, [middle, after]);
  agree('sizes counted', counted, SIZED);
  const sent = load['sized']?.sentBytes ?? 0;
  const headers = (large - sent) / SIZED;
  expect(Number.isInteger(headers) && headers > 100 && headers < 2000, `requests of ${SIZED} × 3000 bytes are told as ${large}`);
  const received = await added(seen, `sum(istio_response_bytes_sum{${SOURCE},response_code="200"})`, [middle, after]);
  const heads = (received - (load['sized']?.receivedBytes ?? 0)) / SIZED;
  expect(heads > 50 && heads < 2000, `responses of ${load['sized']?.receivedBytes} bytes are told as ${received}`);
  const all = await added(seen, `sum(istio_request_bytes_bucket{${SOURCE},le="+Inf"})`, [before, after]);
  agree(
    'sizes in all',
    all,
    Object.entries(load).reduce((sum, [name, step]) => sum + (name === 'store' ? 0 : step.durationsMs.length), 0),
  );
};

const tcpCounts = async (seen: Seen): Promise<void> => {
  const store = seen.load['store'];
  for (const [metric, done] of [
    ['istio_tcp_connections_opened_total', 50],
    ['istio_tcp_connections_closed_total', 50],
    ['istio_tcp_received_bytes_total', store?.sentBytes ?? -1],
    ['istio_tcp_sent_bytes_total', store?.receivedBytes ?? -1],
  ] as const) {
    agree(`${metric} by source`, await added(seen, `sum(${metric}{${TCP}})`), done);
    agree(`${metric} by destination`, await added(seen, `sum(${metric}{${TCP.replace('"source"', '"destination"')}})`), done);
  }
};

/** As dashboards ask: shares of rates, whose extrapolation falls out. */
const shares = async ({ prometheus, load, quiet, after }: Seen): Promise<void> => {
  const window = `[${Math.round((after - quiet) * 1000)}ms]`;
  const sum = (by: string, more = ''): string => `sum ${by} (rate(istio_requests_total{${SOURCE}${more}}${window}))`;
  const all = ['200', '404', '503'].reduce((n, status) => n + total(load, 'statuses', status), 0);
  const success = await prometheus.value(`${sum('', ',response_code!~"5.*"')} / ${sum('')}`, after);
  const done = 1 - total(load, 'statuses', '503') / all;
  expect(Math.abs(success - done) < 1e-6, `success rate: Prometheus says ${success}, the generator ${done}`);
  for (const { labels, value } of await prometheus.query(
    `${sum('by (destination_version)', ',response_code!="503"')} / ignoring(destination_version) group_left() ${sum('', ',response_code!="503"')}`,
    after,
  )) {
    const share =
      total(load, 'versions', labels['destination_version'] ?? '') / (total(load, 'statuses', '200') + total(load, 'statuses', '404'));
    expect(Math.abs(value - share) < 1e-6, `share of ${labels['destination_version']}: Prometheus says ${value}, the generator ${share}`);
  }
};

/** Istio's. */
const BOUNDS_MS = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const bucketOf = (ms: number): number => BOUNDS_MS.filter((bound) => bound < ms).length;

const percentiles = async (prometheus: Prometheus, load: CountedResult, before: number, after: number): Promise<string> => {
  const bucket = `sum by (le) (istio_request_duration_milliseconds_bucket{${SOURCE}} @ `;
  const told: string[] = [];
  const durations = Object.values(load)
    .flatMap((step) => step.durationsMs)
    .sort((a, b) => a - b);
  for (const q of [0.5, 0.9, 0.99]) {
    const asked = await prometheus.value(`histogram_quantile(${q}, ${bucket}${after}) - ${bucket}${before}))`);
    const own = durations[Math.ceil(q * durations.length) - 1] ?? 0;
    expect(Math.abs(bucketOf(asked) - bucketOf(own)) <= 1, `p${q * 100}: Prometheus says ${asked} ms, the generator ${own} ms`);
    told.push(`p${q * 100} ${asked.toFixed(1)} ms (own ${own.toFixed(1)})`);
  }
  return told.join(', ');
};

/** They come into being when what they count happens. */
const ON_USE: ReadonlySet<string> = new Set(
  readFileSync(join(ROOT, 'test/dashboards/on-use.txt'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')),
);

const metricsExist = async (prometheus: Prometheus): Promise<string> => {
  const there = new Set((await prometheus.api('label/__name__/values')) as readonly string[]);
  const asked = new Set([...panelExpressions(), ...ruleExpressions()].flatMap(({ text }) => metricNames(text)));
  const missing = [...asked].filter((name) => !there.has(name) && !ON_USE.has(name));
  expect(missing.length === 0, `nothing exposes ${missing.join(', ')}`);
  await eventually('the rules are evaluated', 20_000, async () => {
    const { groups } = (await prometheus.api('rules')) as {
      readonly groups: readonly { readonly rules: readonly { readonly name: string; readonly health: string }[] }[];
    };
    const rules = groups.flatMap((g) => g.rules);
    const wrong = rules.filter((r) => r.health !== 'ok').map((r) => `${r.name} ${r.health}`);
    if (rules.length === 0 || wrong.length > 0) throw new Error(wrong.join(', '));
    return true;
  });
  return `${asked.size} metrics`;
};

/** An HTTP service with callers, one that is called over TCP, and one that calls: no panel but these is empty for all of them. */
const SHOWN = [
  { service: HOST, workload: 'payment-v1', namespace: 'production', reporter: 'source' },
  { service: STORE, workload: 'stock', namespace: 'production', reporter: 'source' },
  { service: HOST, workload: CALLER, namespace: 'production', reporter: 'destination' },
];
const EMPTY_WHEN_WELL = ['mesh.json, Cut off from the control plane', 'service.json, gRPC calls by status'];

const panelsShow = async (prometheus: Prometheus): Promise<string> => {
  const shown = new Set<string>();
  const all = SHOWN.flatMap((values) => panelExpressions(values).map((e, i) => ({ ...e, key: `${e.where} #${i}` })));
  for (const { key, where, text } of all) {
    if (shown.has(key)) continue;
    const late = EMPTY_WHEN_WELL.includes(where) || metricNames(text).every((name) => ON_USE.has(name));
    if (late || (await prometheus.query(text)).length > 0) shown.add(key);
  }
  const empty = [...new Set(all.map(({ key }) => key))].filter((key) => !shown.has(key));
  expect(empty.length === 0, `nothing to see in ${empty.join('; ')}`);
  return `${shown.size} expressions`;
};
