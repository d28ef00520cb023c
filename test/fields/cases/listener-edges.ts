// Where connections come in, what is written of them, and what a manager adds to their requests.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../src/proxy/clock.ts';
import { UNKNOWN_PEER } from '../../../src/proxy/telemetry/parties.ts';
import { Telemetry } from '../../../src/proxy/telemetry/telemetry.ts';
import type { AccessLog, AccessLogFilter, TcpProxy } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  hcm,
  listener as onLoopback,
  RawClient,
  startBackend,
  staticCluster,
  tcpProxy,
  toCluster,
} from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { ask, echoServer } from '../http-probe.ts';

/** Stands for a folder of the run in the configuration. */
const FOLDER = '/FOLDER';
const inFolder = async (parts: readonly Part[], work: (here: readonly Part[], folder: string) => Promise<unknown>): Promise<unknown> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-fields-'));
  try {
    return await work(JSON.parse(JSON.stringify(parts).replaceAll(FOLDER, folder)) as readonly Part[], folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

let echo: Backend;
const startEcho = async () => {
  echo = await echoServer();
  return echo;
};
const line = (body: string, start: string): string => body.split('\n').find((text) => text.startsWith(start)) ?? '-';

export const addresses: FieldCase = {
  name: 'listener-addresses',
  start: startEcho,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback('in', hcm([toCluster('echo')]), {
        additional_addresses: [{ address: { pipe: { path: `${FOLDER}/s` } } }],
      }),
    ),
  ],
  observe: (parts) =>
    inFolder(
      parts,
      (here, folder) =>
        live(async () => {
          const client = new RawClient(connect(join(folder, 's')));
          const { body } = await client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n').response();
          client.close();
          return line(body, 'GET');
        })(here) as Promise<unknown>,
    ),
  expect: 'GET / HTTP/1.1',
};

export const managerAdds: FieldCase = {
  name: 'listener-manager-adds',
  start: startEcho,
  parts: () => [
    cluster(staticCluster('echo', [echo.port])),
    listener(
      onLoopback(
        'bare',
        hcm(
          [
            {
              match: { prefix: '/' },
              direct_response: { status: 200 },
              response_headers_to_add: [{ header: { key: 'x-had', value: '[%REQ(x-request-id)%]' } }],
            },
          ],
          { generate_request_id: false },
        ),
      ),
    ),
    listener(onLoopback('expects', hcm([toCluster('echo')], { proxy_100_continue: true }))),
  ],
  observe: live(async (at) => {
    const { body } = await ask(at.port('expects'), '/', { method: 'POST', body: 'x', headers: ['expect: 100-continue'] });
    return [(await ask(at.port('bare'), '/')).headers.get('x-had') ?? '-', line(body, 'expect')];
  }),
  expect: ['[]', 'expect: 100-continue'],
};

// --- what PROXY protocol brings

const V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\xe0\x00\x02ab', 'latin1');
export const proxyProtocolRules: FieldCase = {
  name: 'listener-proxy-protocol-rules',
  parts: () => [
    listener(
      onLoopback(
        'in',
        hcm([
          {
            match: { prefix: '/' },
            direct_response: { status: 200 },
            response_headers_to_add: [{ header: { key: 'x-tlv', value: '%DYNAMIC_METADATA(own:vpc)%' } }],
          },
        ]),
        {
          listener_filters: [
            {
              name: 'proxy',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol',
                rules: [{ tlv_type: 0xe0, on_tlv_present: { metadata_namespace: 'own', key: 'vpc' } }],
              },
            },
          ],
        },
      ),
    ),
  ],
  observe: live(async ({ port }) => {
    const client = await RawClient.open(port());
    const { headers } = await client.send(Buffer.concat([V2, Buffer.from('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n')])).response();
    client.close();
    return headers.get('x-tlv') ?? '-';
  }),
  expect: 'ab',
};

// --- connections that are forwarded

let ports: Backend[] = [];
/** Each says which one it is, whatever it gets. */
const startMany = async (): Promise<AsyncDisposable> => {
  ports = await Promise.all(['0', '1', '2', '3'].map((name) => startBackend((socket) => socket.write(name))));
  const started = ports;
  return { [Symbol.asyncDispose]: async () => void (await Promise.all(started.map((one) => one[Symbol.asyncDispose]()))) };
};
const answer = async (port: number): Promise<string> => {
  const client = await RawClient.open(port);
  const text = await client.send('x').bytes(1);
  client.close();
  return text;
};

export const tcpHash: FieldCase = {
  name: 'listener-tcp-hash',
  start: startMany,
  parts: () => [
    cluster(
      staticCluster(
        'many',
        ports.map((one) => one.port),
        { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 64 } },
      ),
    ),
    listener(onLoopback('in', tcpProxy('many', { hash_policy: [{ source_ip: {} }] }))),
  ],
  observe: (parts) => {
    let n = 0;
    // Every draw is another one.
    const random = (): number => (n++ * 0.137) % 1;
    const probe = async (at: LivePlane): Promise<unknown> => {
      const seen = new Set<string>();
      for (let i = 0; i < 12; i++) seen.add(await answer(at.port()));
      return seen.size;
    };
    return live(probe, () => ({ random }))(parts);
  },
  expect: 1,
};

const file = (name: string, text: string, filter?: AccessLogFilter): AccessLog => ({
  name,
  ...(filter === undefined ? {} : { filter }),
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
    path: `${FOLDER}/${name}`,
    log_format: { text_format_source: { inline_string: `${text}\n` } },
  },
});
const LOGS: readonly (readonly [name: string, config: Partial<TcpProxy>, kinds: string])[] = [
  ['a', { flush_access_log_on_connected: true }, 'TcpConnectionEnd TcpUpstreamConnected'],
  ['b', { access_log_options: { flush_access_log_on_connected: true } }, 'TcpConnectionEnd TcpUpstreamConnected'],
  ['c', { access_log_flush_interval: '0.05s' }, 'TcpConnectionEnd TcpPeriodic'],
  ['d', { access_log_options: { access_log_flush_interval: '0.05s' } }, 'TcpConnectionEnd TcpPeriodic'],
];
const OPEN_MS = 600;
export const tcpLogs: FieldCase = {
  name: 'listener-tcp-logs',
  start: startMany,
  parts: () => [
    cluster(
      staticCluster(
        'many',
        ports.map((one) => one.port),
      ),
    ),
    ...LOGS.map(([name, config]) =>
      listener(chains(name, [{ filters: [tcpProxy('many', { access_log: [file(name, '%ACCESS_LOG_TYPE%')], ...config })] }])),
    ),
    listener(
      onLoopback(
        'http',
        hcm([{ match: { prefix: '/' }, route: { cluster: 'none' } }], {
          access_log: [
            file('e', 'no route', { response_flag_filter: { flags: ['NR'] } }),
            file('f', 'no cluster', { response_flag_filter: { flags: ['NC'] } }),
          ],
        }),
      ),
    ),
  ],
  observe: (parts) =>
    inFolder(parts, async (here, folder) => {
      const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: () => 0.5, logFlushMs: 1 });
      const probe = async (at: LivePlane): Promise<void> => {
        const clients = await Promise.all(LOGS.map(([name]) => RawClient.open(at.port(name))));
        for (const client of clients) await client.send('x').bytes(1);
        await new Promise((resolve) => setTimeout(resolve, OPEN_MS));
        for (const client of clients) client.close();
        await ask(at.port('http'), '/');
      };
      await live(probe, () => ({ observer: telemetry }))(here);
      await telemetry.close();
      const read = (name: string): string => {
        try {
          return [...new Set(readFileSync(join(folder, name), 'utf8').trim().split('\n'))].sort().join(' ');
        } catch {
          return '';
        }
      };
      return [...LOGS.map(([name]) => name), 'e', 'f'].map(read);
    }),
  expect: [...LOGS.map(([, , kinds]) => kinds), '', 'no cluster'],
};
