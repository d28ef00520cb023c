// Access log formats and expressions beside a stock Envoy's: one request with everything that formats tell of configured, the same lines.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { AccessLog, Metadata } from '../../src/xds/gen/types.ts';
import { eventually, fetchOnce, hcm, httpBackend, listener, ok, ROUTER } from './harness.ts';
import { NODE, startLogging } from './log-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const folder = mkdtempSync(join(tmpdir(), 'formats-'));
after(() => rmSync(folder, { recursive: true }));

const EXPRESSIONS = [
  'response.flags',
  'response.flags == 0',
  'response.code',
  'response.grpc_status',
  'response.size',
  'response.total_size - response.size > 100',
  'request.total_size',
  'request.duration > duration("0s")',
  'response.backend_latency >= duration("0s")',
  'upstream.cx_pool_ready_duration >= duration("0s")',
  'request.query',
  "request.headers['x-twice']",
  'request.headers',
  'connection.transport_failure_reason',
  'connection.mtls',
  'upstream.request_attempt_count',
  'upstream.transport_failure_reason',
  'upstream.locality.zone',
  'xds.node.id',
  "xds.node.metadata['NAME']",
  'xds.node.locality.zone',
  'xds.listener_direction',
  "xds.listener_metadata.filter_metadata['own'].l",
  'xds.cluster_name',
  'xds.cluster_metadata.filter_metadata.own.c',
  'xds.route_name',
  'xds.route_metadata.filter_metadata.own.r',
  'xds.virtual_host_name',
  'xds.virtual_host_metadata.filter_metadata.own.v',
  'xds.upstream_host_metadata.filter_metadata.own.h',
  'xds.upstream_host_locality_metadata.filter_metadata.own.p',
  'xds.filter_chain_name',
  'xds.nothing',
  'nothing',
  "filter_state['none']",
  "upstream_filter_state['none']",
  "metadata.filter_metadata['own'].list",
  "metadata.filter_metadata['own'].nothing",
  'duration("1h2m3.5s")',
  'duration("1.5ms")',
  'timestamp("2026-01-02T03:04:05.6Z")',
  '1.5 + 2.25',
  '1234567.5',
  "'a' + 'b'",
  'null',
];
const OPERATORS = [
  '%REQ(x-none?x-tag)% %REQ(USER-AGENT):2% %REQ(X-TWICE)% %REQ(:PATH):4% %REQ(x-utf)%',
  '%RESP(:STATUS)% %RESP(x-list)% %TRAILER(x)% %RESPONSE_HEADER(x-none?x-answer):2%',
  '%PATH% %PATH(NQ)% %PATH(WQ:PATH)% %PATH(NQ:ORIG):2% %QUERY_PARAM(x)% %QUERY_PARAMS%',
  '%COALESCE({"operators":[{"command":"REQ","param":"x-none"},"REQUESTED_SERVER_NAME",{"command":"REQ","param":"user-agent","max_length":3}]})%',
  '%COALESCE({"operators":["RESPONSE_CODE"]})%',
  '%COALESCE({"operators":[{"command":"REQ","param":"x-none"}]})%',
  '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%',
  '%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(x)% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(99)%',
  '%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT% %UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%',
  '%UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_DETECTED_CLOSE_TYPE%',
  '%DYNAMIC_METADATA(own)%',
  '%DYNAMIC_METADATA(own:deep:k)%',
  '%DYNAMIC_METADATA(own:deep):5%',
  '%CLUSTER_METADATA(own:c)% %UPSTREAM_METADATA(own:h)% %METADATA(VIRTUAL_HOST:own:v)% %METADATA(LISTENER:own:l)%',
  '%METADATA(ROUTE)%',
  '%TYPED_CEL(1 + 1)%',
  '%TYPED_CEL(request.method)%',
  "%TYPED_CEL([1, 'a'])%",
  "%TYPED_CEL(metadata.filter_metadata['own'])%",
  '%CEL(request.method):2%',
  '%ENVIRONMENT(NONE_OF_THIS_NAME)%',
  '%CUSTOM_FLAGS%',
  '%RESPONSE_CODE_DETAILS(OTHER)%',
  '%REQUEST_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES%',
  '%UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_RECEIVED%',
  '%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_RECEIVED%',
  '%UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT% %DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%',
  '%COMMON_DURATION(A:B:ms)%',
  'a%%b%REQ(x-tag)%c',
];
const FORMATS = [...EXPRESSIONS.map((expression) => `%CEL(${expression})%`), ...OPERATORS];

const own = (value: object): Metadata => ({ filter_metadata: { own: { ...value } } });
const FILE = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';
const file = (path: string, log_format: object): AccessLog => ({ name: 'file', typed_config: { '@type': FILE, path, log_format } });
const SET = {
  name: 'envoy.filters.http.set_metadata',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config',
    metadata: [{ metadata_namespace: 'own', value: { user: 'ann', list: [1, 'b'], deep: { k: { z: 1, a: 'v' } } } }],
  },
};

const resources = (web: number, path: string) => ({
  clusters: [
    {
      name: 'web',
      metadata: own({ c: 1 }),
      load_assignment: {
        cluster_name: 'web',
        endpoints: [
          {
            locality: { region: 'r', zone: 'z' },
            metadata: own({ p: 'near' }),
            lb_endpoints: [
              {
                metadata: own({ h: 'x' }),
                endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: web } } },
              },
            ],
          },
        ],
      },
    },
  ],
  listeners: [
    listener(
      'in',
      hcm([], {
        http_filters: [SET, ROUTER],
        route_config: {
          name: 'all',
          virtual_hosts: [
            {
              name: 'all',
              domains: ['*'],
              metadata: own({ v: 1 }),
              routes: [{ match: { prefix: '/' }, name: 'web', metadata: own({ r: 'a' }), route: { cluster: 'web' } }],
            },
          ],
        },
        access_log: [
          file(path, { text_format_source: { inline_string: FORMATS.map((format, i) => `${i} ${format}\n`).join('') } }),
          file(`${path}.json`, { json_format: Object.fromEntries(FORMATS.map((format, i) => [String(i), format])) }),
          file(`${path}.some`, {
            omit_empty_values: true,
            json_format: { none: '%REQ(x-none)%', both: '[%REQ(x-none)%]', in: { none: '%REQ(x-none)%' }, tag: '%REQ(x-tag)%' },
          }),
        ],
      }),
      { metadata: own({ l: 1 }), traffic_direction: 'INBOUND' as const },
    ),
  ],
});

const HEADERS = 'x-tag: t\r\nx-twice: 1\r\nx-twice: 2\r\nuser-agent: ua/1\r\nx-utf: h\xc3\xa9\r\n';

/** Text by format, JSON by format, and the line that leaves out what is empty. */
const logged = async (path: string, port: number) => {
  await fetchOnce(port, '/a/b?x=1&y=2', HEADERS);
  const read = (name: string): string => {
    try {
      return readFileSync(name, 'utf8');
    } catch {
      return '';
    }
  };
  const files = [path, `${path}.json`, `${path}.some`];
  const isWhole = (name: string, i: number): boolean => read(name).split('\n').length > (i === 0 ? FORMATS.length : 1);
  await eventually(() => files.every(isWhole), 'all is logged');
  const [text = '', json = '', some = ''] = files.map(read);
  const typed = JSON.parse(json) as Readonly<Record<string, unknown>>;
  return [
    ...text
      .trim()
      .split('\n')
      .map((line, i) => `${FORMATS[i]}: ${line} | ${JSON.stringify(typed[String(i)])}`),
    some,
  ];
};

test('lines are those of Envoy, as text and as JSON', { skip: NO_ENVOY }, async () => {
  await using web = await httpBackend(() => ok('hello', 'x-answer: yes\r\nx-list: a\r\nx-list: b\r\n'));
  const [theirs, ours] = [join(folder, 'envoy'), join(folder, 'skein')];
  await using envoy = await startEnvoy(resources(web.port, theirs), { node: NODE });
  await using rig = await startLogging(resources(web.port, ours));
  assert.deepEqual(await logged(ours, rig.port('in')), await logged(theirs, envoy.port('in')));
});
