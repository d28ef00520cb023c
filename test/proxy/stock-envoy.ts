// A stock Envoy on loopback with the same listeners and clusters as the data plane under test, for tests that compare the two. Needs
// an Envoy (variable ENVOY, or `envoy` in PATH); whoever uses it skips by `NO_ENVOY` otherwise.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bootstrap, Cluster, Listener } from '../../src/xds/gen/types.ts';

export const ENVOY = process.env['ENVOY'] ?? 'envoy';
export const NO_ENVOY = spawnSync(ENVOY, ['--version']).status !== 0 && 'no Envoy here: set ENVOY or put `envoy` into PATH';

export interface EnvoyLogged {
  readonly path: string;
  readonly status: number;
  readonly flags: string;
  readonly details: string;
  readonly transport: string;
}

export interface StockEnvoy extends AsyncDisposable {
  port(listener: string): number;
  /** Of its admin API. */
  readonly admin: string;
  /** HTTP requests logged so far. */
  log(): readonly EnvoyLogged[];
}

const LOG_FIELDS = {
  path: '%REQ(:PATH)%',
  status: '%RESPONSE_CODE%',
  flags: '%RESPONSE_FLAGS%',
  details: '%RESPONSE_CODE_DETAILS%',
  transport: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
};

interface Resources {
  readonly clusters: readonly Cluster[];
  readonly listeners: readonly Listener[];
}

/** The resources with an access log in every HTTP connection manager. */
const logged = ({ clusters, listeners }: Resources, path: string): unknown => {
  const log = {
    name: 'file',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
      path,
      log_format: { json_format: LOG_FIELDS },
    },
  };
  const copy = JSON.parse(JSON.stringify(listeners)) as {
    filter_chains?: { filters?: { typed_config?: { stat_prefix?: string; http_filters?: unknown; access_log?: unknown[] } }[] }[];
  }[];
  for (const listener of copy)
    for (const chain of listener.filter_chains ?? [])
      for (const { typed_config: config } of chain.filters ?? [])
        if (config?.http_filters !== undefined) config.access_log = [...(config.access_log ?? []), log];
  return { clusters, listeners: copy };
};

const eventually = async <T>(what: string, ask: () => Promise<T | undefined>): Promise<T> => {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    const value = await ask().catch(() => undefined);
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`Envoy, not within 20 s: ${what}`);
};

const stop = async (child: ChildProcess, folder: string): Promise<void> => {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
};

/** `more`: of the bootstrap. */
export const startEnvoy = async (resources: Resources, more: Partial<Bootstrap> = {}): Promise<StockEnvoy> => {
  const folder = mkdtempSync(join(tmpdir(), 'stock-envoy-'));
  const [config, admin, accessLog] = [join(folder, 'envoy.json'), join(folder, 'admin'), join(folder, 'access')];
  writeFileSync(accessLog, '');
  const bootstrap = {
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    static_resources: logged(resources, accessLog),
    ...more,
  };
  writeFileSync(config, JSON.stringify(bootstrap));
  const args = ['-c', config, '--use-dynamic-base-id', '--concurrency', '1', '-l', 'error', '--admin-address-path', admin];
  const child = spawn(ENVOY, [...args, '--file-flush-interval-msec', '20'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr?.on('data', (bytes) => {
    said += bytes;
  });
  try {
    const ports = await eventually(`it listens: ${said}`, async () => {
      if (child.exitCode !== null) throw new Error(said);
      const address = readFileSync(admin, 'utf8').trim();
      const ready = await fetch(`http://${address}/ready`, { signal: AbortSignal.timeout(1000) });
      if (ready.status !== 200) return undefined;
      const found = await fetch(`http://${address}/listeners?format=json`, { signal: AbortSignal.timeout(1000) });
      const { listener_statuses = [] } = (await found.json()) as {
        listener_statuses?: { name: string; local_address: { socket_address: { port_value: number } } }[];
      };
      if (listener_statuses.length < resources.listeners.length) return undefined;
      return new Map(listener_statuses.map((l) => [l.name, l.local_address.socket_address.port_value]));
    });
    return {
      admin: readFileSync(admin, 'utf8').trim(),
      port: (name) => {
        const port = ports.get(name);
        if (port === undefined) throw new Error(`Envoy has no listener ${name}`);
        return port;
      },
      log: () =>
        readFileSync(accessLog, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith('{') && line.endsWith('}'))
          .map((line) => {
            const fields = JSON.parse(line) as { readonly [name: string]: string | number | null };
            const text = (name: string) => (fields[name] === '-' ? '' : String(fields[name] ?? ''));
            return {
              path: text('path'),
              status: Number(fields['status'] ?? 0),
              flags: text('flags'),
              details: text('details'),
              transport: text('transport'),
            };
          }),
      [Symbol.asyncDispose]: () => stop(child, folder),
    };
  } catch (problem) {
    await stop(child, folder);
    throw new Error(`${problem instanceof Error ? problem.message : ''}\n${said.slice(0, 2000)}`);
  }
};
