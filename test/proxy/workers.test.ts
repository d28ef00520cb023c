// A sidecar with several workers, as processes with real sockets: what it counts and limits holds for it as a whole, and neither a
// drain nor a hot restart loses anything, whatever number of workers the successor has.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { httpFilter, listenerOf, ProxyProcess, proxyConfig, SteadyClient, startEcho, until } from './hot-restart-rig.ts';

const TWO = ['--concurrency', '2'];
const LOG = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';

/** Answers after a moment, and knows how much it had to do at once. */
class Backend {
  readonly #server: Server;
  readonly #status: number;
  readonly #afterMs: number;
  requests = 0;
  connections = 0;
  mostConnections = 0;
  running = 0;
  mostRunning = 0;

  constructor(status = 200, afterMs = 0) {
    this.#status = status;
    this.#afterMs = afterMs;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    this.#server.unref();
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }
  close(): void {
    this.#server.close();
  }

  #serve(socket: Socket): void {
    this.mostConnections = Math.max(this.mostConnections, ++this.connections);
    let open = true;
    const over = (): void => {
      if (open) this.connections--;
      open = false;
    };
    socket.once('end', over);
    socket.once('close', over);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => {
      for (const _ of bytes.toString('latin1').matchAll(/\r\n\r\n/g)) {
        this.requests++;
        this.mostRunning = Math.max(this.mostRunning, ++this.running);
        setTimeout(() => {
          this.running--;
          socket.write(`HTTP/1.1 ${this.#status} X\r\ncontent-length: 2\r\n\r\nok`);
        }, this.#afterMs);
      }
    });
  }
}

const get = (port: number, agent: Agent | false = false): Promise<number> =>
  new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', agent }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    })
      .on('error', reject)
      .end();
  });

/** `clients` at once, each with one connection and `each` requests; how often each status came. */
const load = async (port: number, clients: number, each: number): Promise<Map<number, number>> => {
  const seen = new Map<number, number>();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (let i = 0; i < each; i++) {
        const status = await get(port, agent);
        seen.set(status, (seen.get(status) ?? 0) + 1);
      }
      agent.destroy();
    }),
  );
  return seen;
};

const clusterOf = (name: string, ports: readonly number[], more: object = {}): object => ({
  name,
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [
      { lb_endpoints: ports.map((p) => ({ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: p } } } })) },
    ],
  },
  ...more,
});

/** One listener, with what stands before its HTTP connection manager, to one cluster. */
const oneListener = (cluster: object, before: readonly object[] = [], hcm: object = {}, more: object = {}): object => {
  const filter = httpFilter() as { readonly typed_config: object };
  const filters = [...before, { ...filter, typed_config: { ...filter.typed_config, ...hcm } }];
  const listener = { ...listenerOf('http', 0, {}), filter_chains: [{ filters }] };
  return { ...proxyConfig(1), static_resources: { clusters: [cluster], listeners: [listener] }, ...more };
};

const statOf = async (proxy: ProxyProcess, name: string): Promise<number> => {
  const { body } = await proxy.call('GET', '/stats');
  return Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(body)?.[1] ?? Number.NaN);
};

const during = async (config: object, act: (proxy: ProxyProcess, port: number) => Promise<void>, flags = TWO): Promise<void> => {
  const proxy = new ProxyProcess(config, flags);
  try {
    await proxy.ready();
    await act(proxy, await proxy.port('http'));
  } finally {
    proxy.remove([]);
  }
};

/** Sockets that stay when all have been tried. */
const staying = async (port: number, tried: number, gone: number): Promise<{ readonly ended: number; readonly close: () => void }> => {
  let ended = 0;
  const sockets = Array.from({ length: tried }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) {
    socket.on('error', () => undefined);
    socket.once('close', () => ended++);
    socket.resume();
  }
  await until(
    () => ended >= gone,
    () => `${ended} of ${tried} connections ended`,
  );
  await new Promise((resolve) => setTimeout(resolve, 200)); // one too many would end now
  return {
    ended,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
};

describe('several workers', { concurrency: 2 }, () => {
  test('both serve, their counters add up exactly, and each request is logged once', { timeout: 120_000 }, async () => {
    const backend = new Backend();
    const port = await backend.listen();
    const log = join(mkdtempSync(join(tmpdir(), 'skein-workers-')), 'access.log');
    const access = {
      access_log: [
        {
          name: 'f',
          typed_config: {
            '@type': LOG,
            path: log,
            log_format: { text_format_source: { inline_string: '%REQ(:METHOD)% %RESPONSE_CODE%\n' } },
          },
        },
      ],
    };
    await during(oneListener(clusterOf('b', [port]), [], access), async (proxy, to) => {
      const seen = await load(to, 50, 8);
      assert.deepEqual([...seen], [[200, 400]]);
      assert.equal(backend.requests, 400);
      await until(
        async () => (await statOf(proxy, 'http\\.h\\.downstream_rq_total')) === 400,
        () => 'the counters do not say 400',
      );
      const { body } = await proxy.call('GET', '/stats');
      const value = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(body)?.[1] ?? Number.NaN);
      assert.equal(value('http\\.h\\.downstream_rq_2xx'), 400);
      assert.equal(value('http\\.h\\.downstream_cx_total'), 50);
      assert.equal(value('cluster\\.b\\.upstream_rq_total'), 400);
      assert.equal(value('cluster\\.b\\.membership_total'), 1, 'hosts are not added up');
      assert.equal(value('server\\.concurrency'), 2);
      const byWorker = [0, 1].map((n) => value(`listener\\..*\\.worker_${n}\\.downstream_cx_total`));
      assert.equal((byWorker[0] ?? 0) + (byWorker[1] ?? 0), 50);
      assert.ok(Math.min(...byWorker) > 5, `connections by worker: ${byWorker.join(' ')}`);
      const prometheus = (await proxy.call('GET', '/stats/prometheus')).body;
      assert.match(prometheus, /envoy_http_downstream_rq_time_count\{envoy_http_conn_manager_prefix="h"\} 400\n/);
      assert.match((await proxy.call('GET', '/clusters')).body, new RegExp(`b::127.0.0.1:${port}::rq_total::400\n`));
      assert.match((await proxy.call('GET', '/server_info')).body, /"concurrency": 2/);
      assert.equal((await proxy.call('POST', '/reset_counters')).status, 200);
      await until(
        async () => (await statOf(proxy, 'http\\.h\\.downstream_rq_total')) === 0,
        () => 'counters of a worker were not reset',
      );
      proxy.child.kill('SIGTERM');
      await once(proxy.child, 'exit');
      assert.deepEqual(
        readFileSync(log, 'utf8')
          .split('\n')
          .filter((l) => l !== ''),
        new Array(400).fill('GET 200'),
      );
    });
    backend.close();
  });

  test('upstream connections reach their limit, never pass it, and serve both workers', { timeout: 120_000 }, async () => {
    const backend = new Backend(200, 3);
    const port = await backend.listen();
    const few = { circuit_breakers: { thresholds: [{ max_connections: 3, max_pending_requests: 500 }] } };
    await during(oneListener(clusterOf('b', [port], few)), async (_proxy, to) => {
      assert.deepEqual([...(await load(to, 40, 10))], [[200, 400]]);
      assert.equal(backend.mostConnections, 3);
    });
    backend.close();
  });

  test('one upstream connection is passed from worker to worker', { timeout: 120_000 }, async () => {
    const backend = new Backend(200, 1);
    const port = await backend.listen();
    const one = { circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 500 }] } };
    await during(oneListener(clusterOf('b', [port], one)), async (proxy, to) => {
      assert.deepEqual([...(await load(to, 20, 10))], [[200, 200]]);
      assert.equal(backend.mostRunning, 1);
      // The next may be there a moment before the end of the one before is heard of.
      assert.ok(backend.mostConnections <= 2);
      const byWorker = await Promise.all([0, 1].map((n) => statOf(proxy, `listener\\..*\\.worker_${n}\\.downstream_cx_total`)));
      assert.ok(Math.min(...byWorker) > 0, 'one worker alone would prove nothing');
    });
    backend.close();
  });

  test('one HTTP/2 connection upstream is passed from worker to worker and loses no stream', { timeout: 120_000 }, async () => {
    // Connections with streams under way: the end of one that nobody uses may be heard of after the beginning of the next.
    const busy = new Map<unknown, number>();
    let most = 0;
    const server = createHttp2Server();
    server.on('stream', (stream) => {
      const { session } = stream;
      busy.set(session, (busy.get(session) ?? 0) + 1);
      most = Math.max(most, busy.size);
      stream.on('error', () => undefined);
      setTimeout(() => {
        const left = (busy.get(session) ?? 1) - 1;
        if (left === 0) busy.delete(session);
        else busy.set(session, left);
        stream.respond({ ':status': 200 });
        stream.end('ok');
      }, 2);
    });
    server.listen(0, '127.0.0.1');
    server.unref();
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const one = {
      circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 500 }] },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: { http2_protocol_options: {} },
        },
      },
    };
    await during(oneListener(clusterOf('b', [port], one)), async (proxy, to) => {
      assert.deepEqual([...(await load(to, 20, 20))], [[200, 400]]);
      assert.equal(most, 1);
      const byWorker = await Promise.all([0, 1].map((n) => statOf(proxy, `listener\\..*\\.worker_${n}\\.downstream_cx_total`)));
      assert.ok(Math.min(...byWorker) > 0, 'one worker alone would prove nothing');
    });
    server.close();
  });

  test('TCP tunnels reach the limit of upstream connections and never pass it', { timeout: 120_000 }, async () => {
    const { server, port } = await startEcho();
    server.unref();
    let open = 0;
    let most = 0;
    server.on('connection', (socket) => {
      most = Math.max(most, ++open);
      socket.once('close', () => open--);
    });
    const few = { circuit_breakers: { thresholds: [{ max_connections: 4 }] } };
    const tcp = {
      name: 't',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
        stat_prefix: 't',
        cluster: 'b',
      },
    };
    const config = {
      ...proxyConfig(1),
      static_resources: { clusters: [clusterOf('b', [port], few)], listeners: [listenerOf('http', 0, tcp)] },
    };
    await during(config, async (proxy, to) => {
      const { ended, close } = await staying(to, 24, 20);
      assert.equal(ended, 20);
      assert.equal(most, 4);
      assert.equal(await statOf(proxy, 'cluster\\.b\\.upstream_cx_overflow'), 20);
      close();
    });
    server.close();
  });

  test('running and waiting requests reach their limits and never pass them', { timeout: 120_000 }, async () => {
    const backend = new Backend(200, 30);
    const port = await backend.listen();
    const few = { circuit_breakers: { thresholds: [{ max_requests: 5, max_pending_requests: 1000 }] } };
    await during(oneListener(clusterOf('b', [port], few)), async (proxy, to) => {
      const seen = await load(to, 60, 5);
      assert.equal((seen.get(200) ?? 0) + (seen.get(503) ?? 0), 300);
      assert.equal(backend.mostRunning, 5);
      assert.equal(seen.get(200), backend.requests);
      assert.equal(await statOf(proxy, 'cluster\\.b\\.upstream_rq_active'), 0);
      // What was counted has been given back: the limit is as wide as before.
      backend.mostRunning = 0;
      await load(to, 30, 2);
      assert.equal(backend.mostRunning, 5);
    });
    backend.close();
  });

  test('a downstream connection limit, and that of the whole process, hold for all workers', { timeout: 120_000 }, async () => {
    const backend = new Backend();
    const port = await backend.listen();
    const limit = {
      name: 'l',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
        stat_prefix: 'few',
        max_connections: 5,
      },
    };
    await during(oneListener(clusterOf('b', [port]), [limit]), async (proxy, to) => {
      for (let round = 0; round < 2; round++) {
        const { ended, close } = await staying(to, 25, 20);
        assert.equal(ended, 20);
        assert.equal(await statOf(proxy, 'connection_limit\\.few\\.active_connections'), 5);
        assert.equal(await statOf(proxy, 'server\\.total_connections'), 5);
        close();
        await until(
          async () => (await statOf(proxy, 'server\\.total_connections')) === 0,
          () => 'connections are still counted',
        );
      }
    });
    const runtime = { layered_runtime: { layers: [{ name: 's', static_layer: { overload: { global_downstream_max_connections: 4 } } }] } };
    await during(oneListener(clusterOf('b', [port]), [], {}, runtime), async (proxy, to) => {
      const { ended, close } = await staying(to, 20, 16);
      assert.equal(ended, 16);
      assert.equal(await statOf(proxy, 'listener\\.[^:]*\\.downstream_global_cx_overflow'), 16);
      close();
    });
    backend.close();
  });

  test('a host is ejected by what all workers saw, for all of them, and no more hosts than allowed', { timeout: 120_000 }, async () => {
    const bad = [new Backend(500), new Backend(500)] as const;
    const good = [new Backend(), new Backend()] as const;
    const ports = await Promise.all([...bad, ...good].map((b) => b.listen()));
    const outlier = { outlier_detection: { consecutive_5xx: 6, max_ejection_percent: 25, base_ejection_time: '60s', interval: '60s' } };
    await during(oneListener(clusterOf('b', ports, outlier)), async (proxy, to) => {
      // Each on a connection of its own: any worker may get it.
      for (let i = 0; i < 200; i++) await get(to);
      const [fewer, more] = bad.map((b) => b.requests).sort((a, b) => a - b);
      assert.equal(fewer, 6, 'the sixth failure in a row ejects, whoever saw it');
      assert.ok((more ?? 0) > 30, 'a quarter may be ejected: the other stays');
      assert.match((await proxy.call('GET', '/clusters')).body, /health_flags::\/failed_outlier_check/);
      assert.equal(await statOf(proxy, 'cluster\\.b\\.outlier_detection\\.ejections_active'), 1);
    });
    for (const backend of [...bad, ...good]) backend.close();
  });

  test('a drain lets requests of all workers finish', { timeout: 120_000 }, async () => {
    const backend = new Backend(200, 700);
    const port = await backend.listen();
    await during(oneListener(clusterOf('b', [port])), async (proxy, to) => {
      const running = Array.from({ length: 20 }, () => get(to));
      await until(
        () => backend.running === 20,
        () => `${backend.running} requests run`,
      );
      proxy.child.kill('SIGTERM');
      assert.deepEqual(await Promise.all(running), new Array(20).fill(200));
      const [code] = (await once(proxy.child, 'exit')) as [number];
      assert.equal(code, 0, proxy.log);
    });
    backend.close();
  });

  test('hot restarts to more and to fewer workers lose neither connection nor request', { timeout: 120_000 }, async () => {
    const { server, port } = await startEcho();
    const { proxy, workers } = launched(proxyConfig(port));
    const pids: number[] = [];
    const clients: { readonly failures: readonly string[]; stop(): Promise<void> }[] = [];
    try {
      await proxy.ready();
      const [http, tcp] = [await proxy.port('http'), await proxy.port('tcp')];
      const steady = (['http', 'http', 'http', 'http', 'websocket', 'websocket'] as const).map((kind) => new SteadyClient(http, kind, 5));
      steady.push(new SteadyClient(tcp, 'tcp', 5), new SteadyClient(tcp, 'tcp', 5));
      const comers = new Comers(http);
      clients.push(...steady, comers);
      for (const count of [3, 1, 2]) {
        workers(count);
        pids.push(await proxy.restart());
        assert.match((await proxy.call('GET', '/server_info')).body, new RegExp(`"concurrency": ${count}`));
        const [before, came] = [steady.map((c) => c.done), comers.done];
        await until(
          () => steady.every((c, i) => c.done > (before[i] ?? 0) + 5) && comers.done > came + 40,
          () => `a client is stuck: ${steady.map((c) => c.done).join(' ')}; ${comers.done - came} have come`,
        );
      }
      await Promise.all(clients.map((c) => c.stop()));
      assert.deepEqual(
        clients.flatMap((c) => c.failures),
        [],
      );
    } catch (problem) {
      throw new Error(`${String(problem)}\n${proxy.log}`);
    } finally {
      for (const client of clients) void client.stop();
      proxy.remove(pids);
      server.close();
    }
  });
});

/** New connections, one after the other: the kernel chooses whose each is. */
class Comers {
  readonly failures: string[] = [];
  done = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(port: number) {
    this.#running = this.#come(port);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #come(port: number): Promise<void> {
    while (!this.#stopped) {
      const status = await get(port).catch((e: unknown) => String(e));
      if (status === 200) this.done++;
      else this.failures.push(String(status));
    }
  }
}

/** A proxy whose successors have as many workers as it is told by then. */
const launched = (config: object): { readonly proxy: ProxyProcess; readonly workers: (count: number) => void } => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-launch-'));
  const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const [launcher, count] = [join(folder, 'launch.sh'), join(folder, 'workers')];
  writeFileSync(launcher, `exec '${process.execPath}' '${main}' "$@" --concurrency "$(cat '${count}')"\n`);
  return { proxy: new ProxyProcess(config, TWO, { SKEIN_LAUNCHER: launcher }), workers: (n) => writeFileSync(count, String(n)) };
};
