// A sidecar with two workers tells of the traffic of both, over the one way to the control plane that the main thread has.
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';
import { createLog } from '../../src/base/log.ts';
import { MetricsIntake } from '../../src/control/telemetry/metrics-intake.ts';
import { SignalStore } from '../../src/control/telemetry/signal-store.ts';
import { NOBODY } from '../../src/control/telemetry/speaker.ts';
import { ProxyServer } from '../../src/proxy/bootstrap/proxy-server.ts';
import type { Bootstrap } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';

const bootstrap = (port: number): Bootstrap => ({
  node: { id: 'sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local', metadata: { WORKLOAD_NAME: 'web', NAMESPACE: 'shop' } },
  static_resources: {
    listeners: [
      {
        name: 'main',
        traffic_direction: 'OUTBOUND',
        address: { socket_address: { address: '127.0.0.1', port_value: port } },
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  stat_prefix: 'main',
                  route_config: {
                    virtual_hosts: [
                      { name: 'a', domains: ['*'], routes: [{ name: 'r', match: { prefix: '/' }, direct_response: { status: 200 } }] },
                    ],
                  },
                  http_filters: [
                    {
                      name: 'envoy.filters.http.router',
                      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                    },
                  ],
                },
              },
            ],
          },
        ],
      },
    ],
  },
});

const status = (port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', agent: false, headers: { connection: 'close' } }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    }).on('error', reject);
  });

const REQUESTS = 60;

test('requests of every worker are told, each once', async () => {
  const port = await freePort();
  const now = (): number => Date.now();
  const store = new SignalStore(now());
  const intake = new MetricsIntake({ store, now, lost: () => undefined });
  const speaker = {
    proxy: 'web-1.shop',
    party: { ...NOBODY, workload: 'web', namespace: 'shop' },
    gateway: false,
    addresses: [],
    deltas: true,
  };
  let told = (): void => undefined;
  const streams = new Map<string, number>();
  const server = new ProxyServer({
    bootstrap: bootstrap(port),
    log: createLog(
      'test',
      () => undefined,
      () => new Date(),
    ),
    version: '0',
    concurrency: 2,
    summaries: {
      everyMs: 100,
      transport: {
        open: (method) => {
          streams.set(method, (streams.get(method) ?? 0) + 1);
          return {
            send: (bytes) => {
              if (method.endsWith('StreamMetrics')) intake.take(bytes, () => undefined, speaker);
              told();
            },
            close: () => undefined,
          };
        },
      },
    },
    quit: () => undefined,
  });
  const counted = (): number => [...store.look(3600_000, now()).cells.values()].reduce((n, c) => n + c.requests, 0);
  try {
    server.start();
    await server.whenLive();
    // The recorders come a moment after: the first request that is told of says that all are there.
    await new Promise<void>((resolve) => {
      const before = counted();
      told = () => {
        if (counted() > before) resolve();
      };
      void (async () => {
        while (counted() === before) assert.equal(await status(port), 200);
      })();
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = counted();
    const all = new Promise<void>((resolve) => {
      told = () => {
        if (counted() >= before + REQUESTS) resolve();
      };
    });
    for (let i = 0; i < REQUESTS; i += 6) await Promise.all(Array.from({ length: 6 }, () => status(port)));
    await all;
    assert.equal(counted(), before + REQUESTS);
    assert.deepEqual([...streams.values()], [1, 1]);
  } finally {
    await server.close();
  }
});
