// Access logs for services: Envoy's, and OpenTelemetry's over gRPC and HTTP. What was seen is what the service received.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../../../src/proxy/clock.ts';
import { UNKNOWN_PEER } from '../../../src/proxy/telemetry/parties.ts';
import { Telemetry } from '../../../src/proxy/telemetry/telemetry.ts';
import type { AccessLog } from '../../../src/xds/gen/types.ts';
import { hcm, listener as onLoopback, staticCluster, tcpProxy } from '../../proxy/harness.ts';
import { HTTP2_CLUSTER, http2Backend } from '../../proxy/http2-peers.ts';
import {
  decoded,
  httpEntries,
  type LogCollector,
  logRecords,
  OTLP_PATH,
  type Sent,
  startCollector,
  tcpEntries,
} from '../../proxy/log-collector.ts';
import { converse, httpLog, otelLog, request, tcpLog } from '../../proxy/log-rig.ts';
import { cluster, type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';

/** Stand for ports of the run in the configuration. */
const LOGS = 60_001;
const WEB = 60_002;
const WAIT_MS = 250;
const NEVER = '3600s';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Received {
  readonly messages: LogCollector['messages'];
  count(name: string): number;
}

/** With services of its own; what comes within a while counts. */
const logging =
  (
    probe: (at: LivePlane) => Promise<unknown>,
    enough: (m: LogCollector['messages']) => boolean,
    seen: (r: Received) => unknown,
  ): FieldCase['observe'] =>
  async (parts) => {
    await using logs = await startCollector();
    await using web = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'x-answer': 'yes' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trail': 'end' }));
      stream.end('x');
    });
    const overHttp = createServer((req, res) => {
      const pieces: Buffer[] = [];
      req.on('data', (piece: Buffer) => pieces.push(piece));
      req.on('end', () => {
        logs.messages.push({ path: req.url ?? '', stream: 0, headers: req.headers, body: decoded(OTLP_PATH, Buffer.concat(pieces)) });
        res.end();
      });
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => overHttp.once('listening', resolve));
    const http = (overHttp.address() as AddressInfo).port;
    const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: () => 0.5, node: { id: 'own' } });
    const text = JSON.stringify(parts)
      .replaceAll(String(LOGS), String(logs.port))
      .replaceAll(String(WEB), String(web.port))
      .replaceAll('60003', String(http));
    try {
      return await live(
        async (at) => {
          await probe(at);
          for (const until = performance.now() + WAIT_MS; !enough(logs.messages) && performance.now() < until; ) await pause(5);
          await pause(10);
          return seen({ messages: logs.messages, count: (name) => at.plane.stats.find(name)?.value ?? 0 });
        },
        () => ({ observer: telemetry }),
      )(JSON.parse(text) as readonly Part[]);
    } finally {
      overHttp.closeAllConnections();
      overHttp.close();
      await telemetry.close();
    }
  };

const clusters = [
  cluster(staticCluster('logs', [LOGS], HTTP2_CLUSTER)),
  cluster(staticCluster('web', [WEB], HTTP2_CLUSTER)),
  cluster(staticCluster('plain', [60_003])),
];
const http = (logs: readonly AccessLog[]): readonly Part[] => [
  ...clusters,
  listener(onLoopback('in', hcm([{ match: { prefix: '/' }, route: { cluster: 'web' } }], { access_log: logs }))),
];
const ask = async ({ port }: LivePlane): Promise<void> => {
  await request(port(), '/a', { headers: { 'x-tag': 't', 'user-agent': 'ua' } });
};

const logService: FieldCase = {
  name: 'log-service',
  parts: () =>
    http([
      httpLog(
        { custom_tags: [{ tag: 'kind', literal: { value: 'v' } }] },
        {
          additional_request_headers_to_log: ['x-tag'],
          additional_response_headers_to_log: ['x-answer'],
          additional_response_trailers_to_log: ['x-trail'],
        },
      ),
    ]),
  observe: logging(
    ask,
    (m) => m.length > 0,
    ({ messages }) => {
      const [entry] = httpEntries(messages);
      return [
        messages[0]?.body['identifier']?.log_name,
        entry?.['common_properties'].custom_tags,
        entry?.['request'].request_headers,
        entry?.['response'].response_headers,
        entry?.['response'].response_trailers,
      ];
    },
  ),
  expect: ['shop', { kind: 'v' }, { 'x-tag': 't' }, { 'x-answer': 'yes' }, { 'x-trail': 'end' }],
};

const STATE = {
  name: 'state',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config',
    on_new_connection: [
      { object_key: 'name', factory_key: 'envoy.string', format_string: { text_format_source: { inline_string: 'own' } } },
    ],
  },
};

/** One is sent when its time has come, the other when there is enough. */
const logServiceTcp: FieldCase = {
  name: 'log-service-tcp',
  parts: () => [
    ...clusters,
    listener({
      ...onLoopback('in', tcpProxy('none')),
      filter_chains: [
        {
          filters: [
            STATE,
            tcpProxy('none', {
              access_log: [
                tcpLog({ filter_state_objects_to_log: ['name'] }),
                tcpLog({ log_name: 'at once', buffer_flush_interval: NEVER, buffer_size_bytes: 1 }),
              ],
            }),
          ],
        },
      ],
    }),
  ],
  observe: logging(
    ({ port }) => converse(port()),
    (m) => m.length > 1,
    ({ messages }) => [
      messages.map((m) => m.body['identifier']?.log_name).sort(),
      tcpEntries(messages).flatMap((entry) =>
        Object.entries(entry['common_properties'].filter_state_objects ?? {}).map(([key, any]) => [key, (any as Sent)['type_url']]),
      ),
    ],
  ),
  expect: [['at once', 'shop'], [['name', 'type.googleapis.com/google.protobuf.StringValue']]],
};

const text = (value: string) => ({ string_value: value });
const BY_GRPC = { grpc_service: { envoy_grpc: { cluster_name: 'logs' } }, buffer_size_bytes: 1, buffer_flush_interval: NEVER };
const attributesOf = (sent: Sent | undefined): unknown =>
  sent?.['resource_logs'][0].resource?.attributes?.map((a: Sent) => [a['key'], a['value']?.string_value]);

const logCollector: FieldCase = {
  name: 'log-collector',
  parts: () =>
    http([
      otelLog({
        ...BY_GRPC,
        log_name: 'shop',
        body: text('%REQ(:PATH)%'),
        attributes: {
          values: [
            { key: 'code', value: text('%RESPONSE_CODE%') },
            { key: 'list', value: { array_value: { values: [text('%PROTOCOL%')] } } },
            { key: 'map', value: { kvlist_value: { values: [{ key: 'agent', value: text('%REQ(USER-AGENT)%') }] } } },
          ],
        },
        custom_tags: [{ tag: 'kind', literal: { value: 'v' } }],
      }),
      otelLog({
        ...BY_GRPC,
        disable_builtin_labels: true,
        resource_attributes: { values: [{ key: 'region', value: text('here') }] },
        body: text('second'),
      }),
    ]),
  observe: logging(
    ask,
    (m) => m.length > 1,
    ({ messages }) =>
      messages
        .map((m) => [attributesOf(m.body), logRecords([m]).map((r) => [r['body'], r['attributes'] ?? []])])
        .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
  ),
  expect: [
    [
      [
        ['log_name', 'shop'],
        ['zone_name', ''],
        ['cluster_name', ''],
        ['node_name', 'own'],
      ],
      [
        [
          text('/a'),
          [
            { key: 'code', value: text('200') },
            { key: 'list', value: { array_value: { values: [text('HTTP/1.1')] } } },
            { key: 'map', value: { kvlist_value: { values: [{ key: 'agent', value: text('ua') }] } } },
            { key: 'kind', value: text('v') },
          ],
        ],
      ],
    ],
    [[['region', 'here']], [[text('second'), []]]],
  ],
};

/** Again one by its time and one by its size; and the time and size that the older form holds. */
const logCollectorHttp: FieldCase = {
  name: 'log-collector-http',
  parts: () => [
    ...clusters,
    listener({
      ...onLoopback('in', tcpProxy('none')),
      filter_chains: [
        {
          filters: [
            STATE,
            tcpProxy('none', {
              access_log: [
                otelLog({
                  http_service: { http_uri: { uri: 'http://collector.test/v1/logs', cluster: 'plain', timeout: '1s' } },
                  buffer_flush_interval: '0.02s',
                  stat_prefix: 'own',
                  filter_state_objects_to_log: ['name'],
                  body: text('by time'),
                }),
                otelLog({
                  http_service: { http_uri: { uri: 'http://collector.test/v1/logs', cluster: 'plain', timeout: '1s' } },
                  buffer_flush_interval: NEVER,
                  buffer_size_bytes: 1,
                  body: text('by size'),
                }),
              ],
            }),
          ],
        },
      ],
    }),
  ],
  observe: logging(
    ({ port }) => converse(port()),
    (m) => m.length > 1,
    ({ messages, count }) => [
      logRecords(messages)
        .map((r) => [r['body']?.string_value, (r['attributes'] ?? []).map((a: Sent) => [a['key'], a['value'].string_value])])
        .sort(),
      count('access_logs.open_telemetry_access_log.own.logs_written'),
    ],
  ),
  expect: [
    [
      ['by size', []],
      ['by time', [['name', '"own"']]],
    ],
    1,
  ],
};

const logCollectorOld: FieldCase = {
  name: 'log-collector-old',
  parts: () =>
    http([
      otelLog({
        common_config: {
          log_name: 'old',
          grpc_service: { envoy_grpc: { cluster_name: 'logs' } },
          buffer_size_bytes: 1,
          buffer_flush_interval: NEVER,
        },
        body: text('x'),
      }),
    ]),
  observe: logging(
    ask,
    (m) => m.length > 0,
    ({ messages }) => (attributesOf(messages[0]?.body) as unknown[][] | undefined)?.[0],
  ),
  expect: ['log_name', 'old'],
};

export const LOG_SERVICE_CASES: readonly FieldCase[] = [logService, logServiceTcp, logCollector, logCollectorHttp, logCollectorOld];
