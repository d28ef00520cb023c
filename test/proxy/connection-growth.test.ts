// What connections leave behind in a proxy once they are gone: nothing, whatever they spoke and however they ended. The heap that is
// still in use after a collection is compared before and after many of each kind. SKEIN_CHURN sets how many.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, suite, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { createAuthority } from './certificates.ts';
import { chains, hcm, listener, type Plane, startPlane, staticCluster, toCluster } from './harness.ts';

const CONNECTIONS = Number(process.env['SKEIN_CHURN'] ?? 1000);
/** First the code of the way itself is loaded and compiled. */
const WARM_UP = 150;
/** A connection that stays takes several times as much. */
const KEPT_BYTES_MAX = 700;
const NOISE_BYTES = 300_000;
const SETTLE_MS = 400;
const TEST_MS = 120_000;

interface Runtime {
  readonly collect: () => void;
  readonly liveBytes: () => number;
}

const runtime = async (): Promise<Runtime> => {
  if ('bun' in process.versions) {
    const name: string = 'bun:jsc';
    const jsc = (await import(name)) as { heapStats(): { heapSize: number }; fullGC(): void };
    return { collect: () => jsc.fullGC(), liveBytes: () => jsc.heapStats().heapSize };
  }
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  return { collect, liveBytes: () => process.memoryUsage().heapUsed };
};

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const serverTls = () => {
  const { certificate, key } = createAuthority('growth').issue({ dns: 'a' });
  const pair = { certificate_chain: { inline_string: certificate }, private_key: { inline_string: key } };
  return { name: 'tls', typed_config: { '@type': TLS, common_tls_context: { tls_certificates: [pair] } } };
};

const manager = (version: number) =>
  hcm([toCluster('app')], {
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    delayed_close_timeout: '0.05s',
    drain_timeout: '0.05s',
    server_name: `version ${version}`,
  });

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Churn {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#child = spawn(process.execPath, [join(import.meta.dirname, 'churn-clients.ts')], { stdio: ['pipe', 'pipe', 'inherit'] });
    const { stdout } = this.#child;
    assert.ok(stdout);
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    return String((await this.#lines.next()).value);
  }

  /** So many connections of a kind come and go. */
  async run(kind: string, port: number, count: number): Promise<void> {
    this.#child.stdin?.write(`${kind} ${port} ${count}\n`);
    assert.equal(await this.line(), 'done');
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end();
    await once(this.#child, 'exit');
  }
}

suite('connections that are gone', () => {
  let churn: Churn;
  let plane: Plane;
  let version = 0;

  before(async () => {
    churn = new Churn();
    const backend = Number(await churn.line());
    plane = await startPlane(
      {
        clusters: [staticCluster('app', [backend])],
        listeners: [listener('in', manager(0)), chains('tls', [{ filters: [manager(0)], transport_socket: serverTls() }])],
      },
      { observer: silentObserver },
    );
  });
  after(async () => {
    await churn.stop();
    await plane.plane.close();
  });

  const settled = async ({ collect, liveBytes }: Runtime): Promise<number> => {
    await pause(SETTLE_MS);
    for (let i = 0; i < 3; i++) {
      collect();
      await pause(20);
    }
    return liveBytes();
  };

  /** While they run, the listener changes again and again. */
  const changing = async (run: Promise<void>): Promise<void> => {
    let over = false;
    const ended = run.finally(() => {
      over = true;
    });
    while (!over) {
      plane.plane.setListener(listener('in', manager(++version)));
      await pause(40);
    }
    await ended;
  };

  for (const [what, kind, count] of [
    ['plain, with connection: close', 'plain', CONNECTIONS],
    ['kept alive and ended by the client', 'kept', CONNECTIONS],
    ['TLS', 'tls', CONNECTIONS / 4],
    ['HTTP/2', 'http2', CONNECTIONS],
    ['HTTP/2 that leaves when the listener changes', 'asked', CONNECTIONS],
    ['WebSocket', 'websocket', CONNECTIONS],
    ['aborted within a request', 'aborted', CONNECTIONS],
    ['hostile: heads too large, garbage, rapid resets, overflown windows, nothing', 'hostile', CONNECTIONS],
  ] as const)
    test(`leave nothing behind: ${what}`, { timeout: TEST_MS }, async () => {
      const measure = await runtime();
      const run = (n: number): Promise<void> => {
        const done = churn.run(kind, plane.port(kind === 'tls' ? 'tls' : 'in'), n);
        return kind === 'asked' ? changing(done) : done;
      };
      await run(WARM_UP);
      const start = await settled(measure);
      await run(count);
      const grown = (await settled(measure)) - start;
      assert.ok(grown < NOISE_BYTES + count * KEPT_BYTES_MAX, `${Math.round(grown / count)} bytes for each of ${count} connections`);
    });
});
