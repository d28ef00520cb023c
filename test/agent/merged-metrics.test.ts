// The page on 15020: the proxy's, the agent's and the application's metrics in one strict text, whatever the application does.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { readApplicationMetrics } from '../../src/agent/application-metrics.ts';
import { cleanExposition, ExpositionError } from '../../src/agent/exposition.ts';
import { MergedMetrics } from '../../src/agent/merged-metrics.ts';
import { type Exposition, readStrictly } from '../metrics/strict-text.ts';

const PROXY = '# TYPE envoy_server_live gauge\nenvoy_server_live 1\n';
const OWN = '# HELP istio_agent_cert_expiry_seconds x\n# TYPE istio_agent_cert_expiry_seconds gauge\nistio_agent_cert_expiry_seconds 5\n';

const read = async (metrics: MergedMetrics): Promise<{ status: number; text: string }> => {
  const { status, body, stream } = await metrics.page();
  if (stream === undefined) return { status, text: body };
  let text = '';
  let refuse = true;
  await new Promise<void>((resolve) => {
    stream({
      send: (piece) => {
        // A reader that is slow at first.
        if (refuse) {
          refuse = false;
          return false;
        }
        text += piece;
        return true;
      },
      end: resolve,
    });
  });
  return { status, text };
};

interface Application extends AsyncDisposable {
  readonly port: number;
}
const application = async (type: string, body: string, status = 200): Promise<Application> => {
  const server = createServer((_, response) => response.writeHead(status, { 'content-type': type }).end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
};
const merged = (port: number | string | undefined, proxy = PROXY, problems: string[] = []): MergedMetrics =>
  new MergedMetrics({
    admin: async () => ({ status: 200, headers: {}, body: proxy }),
    own: () => OWN,
    application: port === undefined || typeof port === 'string' ? port : { port, path: '/metrics' },
    log: (problem) => problems.push(problem),
  });
const numberOf = ({ samples }: Exposition, name: string, label = ''): number | undefined =>
  samples.find((s) => s.name === name && (label === '' || Object.values(s.labels).includes(label)))?.value;

describe('merged metrics', () => {
  test('all three stand in one page that reads strictly', async () => {
    await using app = await application(
      'text/plain; version=0.0.4',
      '# HELP my_total Mine\n# TYPE my_total counter\nmy_total{a="b\\"c"} 3 1700000000000\n',
    );
    const { status, text } = await read(merged(app.port));
    const page = readStrictly(text.replace(' 1700000000000', ''));
    assert.deepEqual([status, page.problems], [200, []]);
    assert.deepEqual(
      [numberOf(page, 'envoy_server_live'), numberOf(page, 'istio_agent_cert_expiry_seconds'), numberOf(page, 'my_total')],
      [1, 5, 3],
    );
    assert.equal(numberOf(page, 'istio_agent_scrapes_total'), 1);
  });

  test('an application that is down, refuses or speaks no metrics is a counter, said once, and no failed page', async () => {
    await using failing = await application('text/plain', 'no', 500);
    await using odd = await application('text/html', 'up 1\n<html>no metrics</html>\n');
    for (const port of [1, failing.port, odd.port, 'prometheus.io/port is odd']) {
      const problems: string[] = [];
      const metrics = merged(port, PROXY, problems);
      await read(metrics);
      const page = readStrictly((await read(metrics)).text.replace('up 1\n', ''));
      assert.deepEqual(page.problems, []);
      assert.equal(numberOf(page, 'envoy_server_live'), 1);
      assert.ok((numberOf(page, 'istio_agent_scrape_failures_total', 'application') ?? 0) >= 1);
      assert.equal(problems.length, 1, problems.join());
    }
  });

  test('a proxy that does not answer fails the page, and is counted', async () => {
    const metrics = new MergedMetrics({
      admin: () => Promise.reject(new Error('gone')),
      own: () => OWN,
      application: undefined,
      log: () => {},
    });
    assert.equal((await metrics.page()).status, 503);
  });

  test('what the proxy and the agent tell is not told again', async () => {
    const body = 'envoy_server_live 7\n# TYPE mine gauge\nmine 1\nistio_agent_cert_expiry_seconds 9\n';
    await using app = await application('text/plain', body);
    const { text } = await read(merged(app.port));
    assert.deepEqual(readStrictly(text).problems, []);
    assert.match(text, /envoy_server_live 1\n/);
    assert.ok(!text.includes('envoy_server_live 7') && !text.includes('expiry_seconds 9'));
  });

  test('a long page of the proxy is passed on whole', async () => {
    const proxy = `# TYPE x gauge\n${Array.from({ length: 20_000 }, (_, i) => `x{i="${i}"} ${i}\n`).join('')}`;
    const page = readStrictly((await read(merged(undefined, proxy))).text);
    assert.deepEqual(page.problems, []);
    assert.equal(page.samples.filter((s) => s.name === 'x').length, 20_000);
  });
});

describe('an application’s page', () => {
  const clean = (text: string, openMetrics = false): string =>
    [...cleanExposition(text, { openMetrics, taken: new Set(['taken']), leftOut: () => {} })].join('');

  test('OpenMetrics becomes the text format', () => {
    const text = [
      '# TYPE foo counter',
      '# UNIT foo seconds',
      '# HELP foo Things',
      'foo_total{a="1"} 5 1700000000.5 # {trace_id="x"} 1',
      'foo_created{a="1"} 1700000000.0',
      '# TYPE build info',
      'build_info{v="1"} 1',
      '# TYPE lat histogram',
      'lat_bucket{le="1"} 1 # {id="1"} 0.5',
      'lat_bucket{le="+Inf"} 2',
      'lat_count 2',
      'lat_sum 3',
      '# TYPE odd unknown',
      'odd 3',
      '# EOF',
      'behind 1',
    ].join('\n');
    const expected = [
      '# HELP foo_total Things',
      '# TYPE foo_total counter',
      'foo_total{a="1"} 5 1700000000500',
      '# TYPE build_info gauge',
      'build_info{v="1"} 1',
      '# TYPE lat histogram',
      'lat_bucket{le="1"} 1',
      'lat_bucket{le="+Inf"} 2',
      'lat_count 2',
      'lat_sum 3',
      '# TYPE odd untyped',
      'odd 3',
      '',
    ].join('\n');
    assert.equal(clean(text, true), expected);
  });

  test('comments go, taken names go, heads come once', () => {
    assert.equal(
      clean('# a comment\n\n# TYPE a gauge\na 1\n# TYPE taken gauge\ntaken 1\n# TYPE a gauge\na{x="y",} NaN\n'),
      '# TYPE a gauge\na 1\na{x="y",} NaN\n',
    );
  });

  test('a line that is none is an error', () => {
    for (const line of ['a', 'a{', 'a{x=1} 2', 'a b', '1a 2', '# TYPE a thing', '<html>', 'a{x="y} 1'])
      assert.throws(() => clean(line), ExpositionError, line);
  });

  test('a hostile line takes no time', () => {
    const before = process.cpuUsage();
    for (const line of [`a{${'x="y",'.repeat(20_000)}`, `a{${' '.repeat(100_000)}`, `a ${' 1'.repeat(50_000)}`])
      assert.throws(() => clean(line), ExpositionError);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 2_000_000, `${user + system} µs`);
  });
});

describe('where the application tells its metrics', () => {
  test('annotations and their environment, as Istio reads them', () => {
    assert.deepEqual(readApplicationMetrics({ scrape: 'true', port: '9090', path: 'm' }, {}), { port: 9090, path: '/m' });
    assert.deepEqual(readApplicationMetrics({}, { 'prometheus.io/scrape': 'true' }), { port: 80, path: '/metrics' });
    assert.equal(readApplicationMetrics({}, { 'prometheus.io/port': '80' }), undefined);
    assert.equal(readApplicationMetrics({ scrape: 'true' }, { 'prometheus.istio.io/merge-metrics': 'false' }), undefined);
    assert.match(String(readApplicationMetrics({ scrape: 'true', port: 'metrics' }, {})), /port must be/);
    assert.match(String(readApplicationMetrics({ scrape: 'true', scheme: 'https' }, {})), /https is not supported/);
  });
});
