// Faults of upstreams that speak HTTP/2, seen by clients of either HTTP, and those of the HTTP/1 table seen over HTTP/2: what the client
// gets and the log says is what stock Envoy gives and says; where there is one, it plays the same rows beside us.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { compileLogFormat } from '../../src/plan/log-format.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import type { Route } from '../../src/xds/gen/types.ts';
import { HTTP2_OUTCOMES } from './fault-outcomes-http2.ts';
import { HTTP2_FAULTS, type Http2Fault, http2FaultCluster, startHttp2Upstream } from './fault-table-http2.ts';
import { hcm, listener, startPlane, staticCluster } from './harness.ts';
import { answerOf, openSession } from './http2-peers.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const AT_ONCE = 8;
/** Where nothing is to come, and where something is. */
const PATIENCE_MS = { none: 1500, some: 20_000 };
const transport = compileLogFormat({ text: '%UPSTREAM_TRANSPORT_FAILURE_REASON%' }, true);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const stage = async (stack: AsyncDisposableStack) => {
  const ports: number[] = [];
  for (const row of HTTP2_FAULTS) ports.push(stack.use(await startHttp2Upstream(row)).port);
  const clusters = HTTP2_FAULTS.map((row, i) => http2FaultCluster(row, staticCluster(`c${i}`, [ports[i] ?? 0])));
  const routes: Route[] = HTTP2_FAULTS.map((row, i) => ({ match: { prefix: `/${i}/` }, route: { cluster: `c${i}`, ...row.route } }));
  return { clusters, listeners: [listener('l', hcm(routes))] };
};

/** Status, body and whether it came whole. */
const overHttp1 = async (row: Http2Fault, port: number, path: string, patienceMs: number): Promise<string> => {
  const socket = connect({ port, host: '127.0.0.1' });
  let text = '';
  let over = false;
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    over = true;
  });
  socket.on('end', () => {
    over = true;
  });
  socket.write(
    row.upload === true
      ? `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nabc`
      : `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`,
  );
  let seen = readHttp1(text);
  for (const until = performance.now() + patienceMs; performance.now() < until && !over && !seen.includes('whole'); seen = readHttp1(text))
    await pause(5);
  socket.destroy();
  return readHttp1(text);
};

const readHttp1 = (all: string): string => {
  const text = all.replace(/^HTTP\/1.1 100[\s\S]*?\r\n\r\n/, '');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return 'none';
  const [head, behind] = [text.slice(0, end), text.slice(end + 4)];
  const status = head.slice(9, 12);
  if (!head.includes('transfer-encoding: chunked')) {
    const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
    return `${status} ${behind.length === length ? 'whole' : 'cut'} ${behind}`;
  }
  const whole = /(^|\r\n)0\r\n\r\n$/.test(behind);
  return `${status} ${whole ? 'whole' : 'cut'} ${behind.replace(/(^|\r\n)[0-9a-f]+(?=\r\n)/g, '').replaceAll('\r\n', '')}`;
};

const overHttp2 = async (row: Http2Fault, port: number, path: string, patienceMs: number): Promise<string> => {
  const session = await openSession(port);
  const stream = session.request(
    { ':method': row.upload === true ? 'POST' : 'GET', ':path': path, ':authority': 'a' },
    { endStream: row.upload !== true },
  );
  if (row.upload === true) stream.write('abc');
  const tooLate = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), patienceMs).unref());
  const answer = await Promise.race([answerOf(stream), tooLate]);
  session.destroy();
  if (answer === undefined) return 'hangs';
  const trailers = Object.keys(answer.trailers).length > 0 ? ` ${JSON.stringify(answer.trailers)}` : '';
  return `${answer.status} ${answer.code === 0 ? 'whole' : `reset ${answer.code}`} ${answer.body}${trailers}`;
};

const PLAYERS = { http1: overHttp1, http2: overHttp2 } as const;

const playAll = async (
  kind: keyof typeof PLAYERS,
  port: number,
  logged: (path: string) => string | undefined,
  stock: boolean,
): Promise<readonly string[]> => {
  const wrong: string[] = [];
  const one = async (row: Http2Fault, i: number): Promise<void> => {
    const path = `/${i}/${kind}`;
    const outcome = HTTP2_OUTCOMES[row.what]?.[kind];
    const comes = !/^(none|hangs)/.test(outcome?.[0] ?? '');
    const seen = await PLAYERS[kind](row, port, path, comes ? PATIENCE_MS.some : PATIENCE_MS.none);
    for (const until = performance.now() + 20_000; logged(path) === undefined && performance.now() < until; ) await pause(5);
    const found = [seen.replaceAll(BEFORE, '…'), logged(path) ?? 'not logged'];
    const same = JSON.stringify(found) === JSON.stringify(outcome);
    const ours = kind === 'http2' && !stock ? OURS.get(row.what) : undefined;
    if (ours === undefined ? !same : ours !== found[0]) wrong.push(`${JSON.stringify(row.what)}: { ${kind}: ${JSON.stringify(found)} }`);
  };
  for (let i = 0; i < HTTP2_FAULTS.length; i += AT_ONCE)
    await Promise.all(HTTP2_FAULTS.slice(i, i + AT_ONCE).map((row, n) => one(row, i + n)));
  return wrong;
};

/** What an HTTP/2 client sees of us alone: a 204 has ended with its head, and what stands behind it is nobody’s. */
const OURS: ReadonlyMap<string, string> = new Map([['204 with body', '204 whole ']]);
const BEFORE = 'upstream connect error or disconnect/reset before headers. ';

describe('faults of HTTP/2 upstreams', () => {
  for (const kind of ['http1', 'http2'] as const) {
    test(`what a client over ${kind} gets and the log says`, { timeout: 120_000 }, async () => {
      await using stack = new AsyncDisposableStack();
      const resources = await stage(stack);
      const records = new Map<string, string>();
      const plane = stack.use(
        await startPlane(resources, {
          observer: {
            ...silentObserver,
            httpDone: (info) => {
              records.set(info.path, `${info.responseCode} ${info.flagsShort()} ${info.responseCodeDetails} ${transport(info).trim()}`);
            },
          },
        }),
      );
      assert.deepEqual(await playAll(kind, plane.port('l'), (path) => records.get(path), false), []);
      assert.deepEqual(plane.problems, []);
    });

    test(`is what stock Envoy does, over ${kind}`, { timeout: 120_000, skip: NO_ENVOY }, async () => {
      await using stack = new AsyncDisposableStack();
      const envoy = stack.use(await startEnvoy(await stage(stack)));
      const record = (path: string): string | undefined => {
        const found = envoy.log().find((entry) => entry.path === path);
        return found && `${found.status} ${found.flags} ${found.details} ${found.transport}`;
      };
      assert.deepEqual(await playAll(kind, envoy.port('l'), record, true), []);
    });
  }
});
