// Access logs: which requests are written, and how.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StreamInfo } from '../../../src/plan/stream-info.ts';
import { systemClock } from '../../../src/proxy/clock.ts';
import { compileLogFilter } from '../../../src/proxy/telemetry/log-filter.ts';
import { UNKNOWN_PEER } from '../../../src/proxy/telemetry/parties.ts';
import { Telemetry } from '../../../src/proxy/telemetry/telemetry.ts';
import type { AccessLog, AccessLogFilter, MetadataFilter } from '../../../src/xds/gen/types.ts';
import { hcm, listener as onLoopback, tcpProxy } from '../../proxy/harness.ts';
import { type FieldCase, type LivePlane, listener, live, type Part } from '../case.ts';
import { ask } from '../http-probe.ts';

/** Stands for a folder of the run in the configuration. */
const FOLDER = '/FOLDER';
const FILE = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';

/** Runs with files of its own; what was seen is each file's lines. */
const logging =
  (probe: (at: LivePlane) => Promise<unknown>): FieldCase['observe'] =>
  async (parts) => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-fields-'));
    const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: () => 0.5, logFlushMs: 1 });
    try {
      const here = JSON.parse(JSON.stringify(parts).replaceAll(FOLDER, folder)) as readonly Part[];
      await live(probe, () => ({ observer: telemetry }))(here);
      await telemetry.close();
      const read = (name: string): string[] => {
        try {
          return readFileSync(join(folder, name), 'utf8')
            .split('\n')
            .filter((line) => line !== '');
        } catch {
          return [];
        }
      };
      return ['a', 'b', 'c', 'd'].map(read);
    } finally {
      await telemetry.close();
      rmSync(folder, { recursive: true, force: true });
    }
  };

const file = (name: string, text: string, filter?: AccessLogFilter): AccessLog => ({
  name,
  ...(filter === undefined ? {} : { filter }),
  typed_config: { '@type': FILE, path: `${FOLDER}/${name}`, log_format: { text_format_source: { inline_string: `${text}\n` } } },
});
const compare = (op: 'EQ' | 'GE' | 'LE', value: number) => ({ comparison: { op, value: { default_value: value, runtime_key: 'key' } } });

const answers = [
  { match: { prefix: '/404' }, direct_response: { status: 404 } },
  { match: { prefix: '/none' }, route: { cluster: 'none' } },
  { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'x' } } },
] as const;
const http = (logs: readonly AccessLog[]) => listener(onLoopback('in', hcm(answers, { access_log: logs })));

const asks = async ({ port }: LivePlane): Promise<void> => {
  await ask(port(), '/');
  await ask(port(), '/404');
  await ask(port(), '/none');
  await ask(port(), '/grpc', { method: 'POST', headers: ['content-type: application/grpc', 'content-length: 0'] });
};

export const logFilters: FieldCase = {
  name: 'log-filters',
  parts: () => [
    http([
      file('a', 'A %REQ(:PATH)%', { status_code_filter: compare('GE', 404) }),
      file('b', 'B %REQ(:PATH)%', {
        and_filter: {
          filters: [
            { header_filter: { header: { name: ':path', string_match: { prefix: '/n' } } } },
            { response_flag_filter: { flags: ['NC'] } },
          ],
        },
      }),
      file('c', 'C %REQ(:PATH)%', {
        or_filter: { filters: [{ status_code_filter: compare('EQ', 503) }, { log_type_filter: { types: ['TcpConnectionEnd'] } }] },
      }),
      file('d', 'D %REQ(:PATH)%', {
        runtime_filter: { runtime_key: 'key', percent_sampled: { numerator: 1000, denominator: 'TEN_THOUSAND' } },
      }),
    ]),
  ],
  observe: logging(asks),
  expect: [['A /404', 'A /none'], ['B /none'], ['C /none'], []],
};

export const logOtherFilters: FieldCase = {
  name: 'log-other-filters',
  parts: () => [
    http([
      file('a', 'A %REQ(:PATH)%', { duration_filter: compare('GE', 10_000) }),
      file('b', 'B %REQ(:PATH)%', { grpc_status_filter: { statuses: ['UNKNOWN'], exclude: true } }),
      file('c', 'C %REQ(:PATH)%', { log_type_filter: { types: ['DownstreamEnd'], exclude: true } }),
      file('d', 'D %REQ(:PATH)%', { runtime_filter: { percent_sampled: { numerator: 60 } } }),
    ]),
  ],
  observe: logging(asks),
  expect: [[], ['B /404', 'B /none'], [], ['D /', 'D /404', 'D /none', 'D /grpc']],
};

/** Nothing takes so long. */
export const logDurations: FieldCase = {
  name: 'log-durations',
  parts: () => [
    http([
      file('a', 'A %REQ(:PATH)% %ACCESS_LOG_TYPE%', { duration_filter: compare('LE', 10_000) }),
      file('b', 'B', { not_health_check_filter: {} }),
      file('c', 'C', { status_code_filter: compare('LE', 200) }),
    ]),
  ],
  observe: logging(async ({ port }) => {
    await ask(port(), '/');
  }),
  expect: [['A / DownstreamEnd'], ['B'], ['C'], []],
};

export const logFormats: FieldCase = {
  name: 'log-formats',
  parts: () => [
    http([
      { name: 'a', typed_config: { '@type': FILE, path: `${FOLDER}/a`, format: 'old %RESPONSE_CODE%\n' } },
      { name: 'b', typed_config: { '@type': FILE, path: `${FOLDER}/b`, json_format: { code: '%RESPONSE_CODE%' } } },
      { name: 'c', typed_config: { '@type': FILE, path: `${FOLDER}/c`, typed_json_format: { code: '%RESPONSE_CODE%' } } },
      {
        name: 'd',
        typed_config: {
          '@type': FILE,
          path: `${FOLDER}/d`,
          log_format: { json_format: { code: '%RESPONSE_CODE%', absent: '%REQ(X-ABSENT)%' }, omit_empty_values: true },
        },
      },
    ]),
  ],
  observe: logging(async ({ port }) => {
    await ask(port(), '/');
  }),
  expect: [['old 200'], ['{"code":200}'], ['{"code":200}'], ['{"code":200}']],
};

export const logText: FieldCase = {
  name: 'log-text',
  parts: () => [
    http([
      {
        name: 'a',
        typed_config: {
          '@type': FILE,
          path: `${FOLDER}/a`,
          log_format: { text_format: '%RESPONSE_CODE% %REQ(X-ABSENT)%\n', omit_empty_values: true },
        },
      },
    ]),
  ],
  observe: logging(async ({ port }) => {
    await ask(port(), '/');
  }),
  expect: [['200 '], [], [], []],
};

export const logConnections: FieldCase = {
  name: 'log-connections',
  parts: () => [
    listener(
      onLoopback('in', tcpProxy('none', { access_log: [file('a', 'TCP %RESPONSE_FLAGS% %UPSTREAM_CLUSTER%')] }), {
        filter_chains: [{ name: 'no chain', filter_chain_match: { destination_port: 1 }, filters: [tcpProxy('none')] }],
        default_filter_chain: {
          name: 'chain',
          filters: [tcpProxy('none', { access_log: [file('a', 'TCP %RESPONSE_FLAGS% %FILTER_CHAIN_NAME%')] })],
        },
        access_log: [file('b', 'LISTENER %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%')],
      }),
    ),
  ],
  observe: logging(async ({ port }) => {
    await ask(port(), '/').catch(() => undefined);
  }),
  expect: [['TCP NC chain'], ['LISTENER 127.0.0.1'], [], []],
};

const CEL = 'type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter' as const;
const metadata = (more: object): AccessLogFilter => ({
  metadata_filter: { matcher: { filter: 'own', path: [{ key: 'k' }], value: { present_match: true } }, ...more },
});
export const logExpressions: FieldCase = {
  name: 'log-expressions',
  parts: () => [
    http([
      file('a', 'A %REQ(:PATH)%', {
        extension_filter: { name: 'cel', typed_config: { '@type': CEL, expression: 'response.code == 404' } },
      }),
      file('b', 'B %REQ(:PATH)%', metadata({ match_if_key_not_found: false })),
      file('c', 'C %REQ(:PATH)%', metadata({})),
    ]),
  ],
  observe: logging(asks),
  expect: [['A /404'], [], ['C /', 'C /404', 'C /none', 'C /grpc'], []],
};
/** What is there decides by its value. */
export const logMetadata: FieldCase = {
  name: 'log-metadata',
  parts: () => [
    {
      type: 'envoy.config.accesslog.v3.MetadataFilter',
      message: { matcher: { filter: 'own', path: [{ key: 'k' }], value: { string_match: { exact: 'a' } } }, match_if_key_not_found: false },
    },
  ],
  observe: (parts) => {
    const [part] = parts;
    const filter = compileLogFilter({ metadata_filter: part?.message as MetadataFilter }, 'filter', () => 0);
    return ['a', 'b', undefined].map((k) => {
      const info = new StreamInfo();
      if (k !== undefined) info.dynamicMetadata = { own: { k } };
      return filter(info, undefined, undefined, undefined);
    });
  },
  expect: [true, false, false],
};
