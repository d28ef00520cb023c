// Where a listener listens, for whom, and how long it waits.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Listener } from '../../../src/xds/gen/types.ts';
import {
  type Backend,
  chains,
  hcm,
  listener as onLoopback,
  RawClient,
  startBackend,
  staticCluster,
  tcpProxy,
} from '../../proxy/harness.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { ask, bodies } from '../http-probe.ts';

const says = (text: string) => hcm([{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } }]);
const one = (name: string, more: Partial<Listener>, observe: (at: LivePlane) => Promise<unknown>, expect: unknown): FieldCase => ({
  name,
  parts: () => [listener(onLoopback('in', says('here'), more))],
  observe: live(observe),
  expect,
});

/** A listener that hands connections to the one that they were for, which listens nowhere itself. */
const handed =
  (virtual: Partial<Listener>, original: Partial<Listener>): FieldCase['parts'] =>
  () => [
    listener(onLoopback('in', says('redirected'), original)),
    listener(onLoopback('virtual', says('virtual'), { address: { socket_address: { address: '10.9.9.9', port_value: 80 } }, ...virtual })),
  ];
const toVirtual = () => ({ originalDestination: { of: () => ({ ip: '10.9.9.9', port: 80 }) } });
const originally = (name: string, virtual: Partial<Listener>, original: Partial<Listener>): FieldCase => ({
  name,
  parts: handed(virtual, original),
  observe: live(async ({ port }) => (await ask(port('in'), '/')).body, toVirtual),
  expect: 'virtual',
});
export const originalDestination = originally('original-destination', { bind_to_port: false }, { use_original_dst: true });
export const oldBinding = originally(
  'original-destination-old-binding',
  { deprecated_v1: { bind_to_port: false } },
  { use_original_dst: true },
);
export const originalDestinationFilter: FieldCase = {
  name: 'original-destination-filter',
  parts: () => [
    listener(
      chains('in', [{ filter_chain_match: { destination_port: 80 }, filters: [says('port 80')] }, { filters: [says('any port')] }], {
        listener_filters: [
          {
            name: 'envoy.filters.listener.original_dst',
            typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst' },
          },
        ],
      }),
    ),
  ],
  observe: live(async ({ port }) => (await ask(port(), '/')).body, toVirtual),
  expect: 'port 80',
};

const inspected = (more: Partial<Listener>): Partial<Listener> => ({
  listener_filters: [
    {
      name: 'envoy.filters.listener.http_inspector',
      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector' },
    },
  ],
  ...more,
});
/** What becomes of a client that says nothing. */
const quiet = async ({ port }: LivePlane): Promise<string> => {
  const client = await RawClient.open(port());
  const timer = setTimeout(() => client.close(), 800);
  const from = performance.now();
  const text = await client.rest();
  clearTimeout(timer);
  client.close();
  return `${text} ${performance.now() - from < 600 ? 'ends' : 'stays'}`;
};
export const filtersTime = one('listener-filters-time', inspected({ listener_filters_timeout: '0.05s' }), quiet, ' ends');

let greeter: Backend;
export const filtersGoOn: FieldCase = {
  name: 'listener-filters-go-on',
  start: async () => {
    greeter = await startBackend(() => undefined);
    greeter.server.on('connection', (socket) => socket.end('welcome'));
    return greeter;
  },
  parts: () => [
    cluster(staticCluster('greeter', [greeter.port])),
    listener(
      chains(
        'in',
        [{ filter_chain_match: { application_protocols: ['h2c'] }, filters: [says('http')] }, { filters: [tcpProxy('greeter')] }],
        inspected({ listener_filters_timeout: '0.05s', continue_on_listener_filters_timeout: true }),
      ),
    ),
  ],
  observe: live(quiet),
  expect: 'welcome ends',
};

/** Stands for a folder of the run. */
const FOLDER = '/FOLDER';
export const pipes: FieldCase = {
  name: 'listener-pipe',
  parts: () => [listener({ ...onLoopback('in', says('pipe')), address: { pipe: { path: `${FOLDER}/s`, mode: 0o600 } } })],
  observe: async (parts) => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-fields-'));
    try {
      const here = JSON.parse(JSON.stringify(parts).replaceAll(FOLDER, folder)) as readonly Part[];
      return await live(async () => {
        const client = new RawClient(connect(join(folder, 's')));
        const { body } = await client.send('GET / HTTP/1.1\r\nhost: a.test\r\n\r\n').response();
        client.close();
        return [body, (statSync(join(folder, 's')).mode & 0o777).toString(8)];
      })(here);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  expect: ['pipe', '600'],
};

export const statPrefix = one(
  'listener-stat-prefix',
  { stat_prefix: 'front' },
  async ({ port, plane }) => {
    await ask(port(), '/');
    return plane.stats.counter('listener.front.downstream_cx_total').value;
  },
  1,
);

export const names: FieldCase = {
  name: 'listener-names',
  parts: () => [listener(onLoopback('first', says('first'))), listener(onLoopback('second', says('second')))],
  observe: live(async ({ port }) => [...(await bodies(port('first'), [['/']])), ...(await bodies(port('second'), [['/']]))]),
  expect: ['first', 'second'],
};

export const handshakeTime: FieldCase = {
  name: 'transport-time',
  parts: () => [
    listener(
      chains('in', [
        {
          transport_socket_connect_timeout: '0.05s',
          transport_socket: {
            name: 'envoy.transport_sockets.tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
              common_tls_context: {},
            },
          },
          filters: [says('tls')],
        },
      ]),
    ),
  ],
  observe: live(quiet),
  expect: ' ends',
};
