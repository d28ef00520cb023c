// Access logs for Envoy's log service: entries as Envoy fills them, and requests that do not notice what becomes of the service.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { AccessLog, Route } from '../../src/xds/gen/types.ts';
import { freePort } from '../free-port.ts';
import { type Backend, hcm, httpBackend, listener, ok, startBackend, staticCluster, tcpProxy, toCluster } from './harness.ts';
import { inlineSecrets, mesh, strictListener } from './hostile-peers-rig.ts';
import { HTTP2_CLUSTER } from './http2-peers.ts';
import { ALS_PATH, httpEntries, type LogCollector, type Sent, startCollector, tcpEntries } from './log-collector.ts';
import { common, converse, httpLog, request, startLogging, tcpLog } from './log-rig.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const WRITTEN = 'access_logs.grpc_access_log.logs_written';
const DROPPED = 'access_logs.grpc_access_log.logs_dropped';

const TAGS = [
  { tag: 'fixed', literal: { value: 'v' } },
  { tag: 'asked', request_header: { name: 'x-tag', default_value: 'none' } },
  { tag: 'home', environment: { name: 'HOME' } },
  { tag: 'nothing', request_header: { name: 'x-absent' } },
  { tag: 'meta', metadata: { kind: { request: {} }, metadata_key: { key: 'k', path: [{ key: 'p' }] }, default_value: 'otherwise' } },
];
const HTTP = httpLog(
  { custom_tags: TAGS },
  {
    additional_request_headers_to_log: ['X-Tag', 'x-absent', 'x-twice', ':method'],
    additional_response_headers_to_log: ['x-answer', ':status'],
  },
);
const ROUTES: readonly Route[] = [
  { match: { prefix: '/nobody' }, name: 'nobody', route: { cluster: 'none' } },
  { match: { prefix: '/old' }, name: 'rewritten', route: { cluster: 'web', prefix_rewrite: '/new' } },
  { match: { prefix: '/nowhere' }, route: { cluster: 'absent' } },
  { match: { prefix: '/tea' }, direct_response: { status: 418, body: { inline_string: 'tea' } } },
  { match: { prefix: '/web' }, name: 'web', route: { cluster: 'web' } },
];

const startWeb = (): Promise<Backend> => httpBackend((_, head) => (head.includes('/reset') ? 'reset' : ok('hello', 'x-answer: yes\r\n')));

const resources = (web: number, raw: number, logs: number) => ({
  clusters: [
    staticCluster('web', [web]),
    staticCluster('raw', [raw]),
    staticCluster('none', []),
    staticCluster('logs', [logs], HTTP2_CLUSTER),
  ],
  listeners: [
    listener('in', hcm(ROUTES, { access_log: [HTTP], use_remote_address: true })),
    listener('tcp', tcpProxy('raw', { access_log: [tcpLog({ custom_tags: TAGS })] })),
    listener('dead', tcpProxy('none', { access_log: [tcpLog()] })),
  ],
});

const HEADERS = {
  'x-tag': 't',
  'x-twice': ['1', '2'],
  'user-agent': 'ua/1',
  referer: 'http://from',
  host: 'shop.test',
  'x-forwarded-for': '1.2.3.4',
};
const drive = async (port: (name: string) => number): Promise<void> => {
  const asks: readonly (readonly [string, string, string?])[] = [
    ['GET', '/web?q=1'],
    ['POST', '/old/x', 'body!'],
    ['GET', '/web/reset'],
    ['GET', '/nobody'],
    ['GET', '/nowhere'],
    ['GET', '/tea'],
    ['PROPFIND', '/unknown'],
    ['HEAD', '/web/head'],
  ];
  for (const [method, path, body] of asks) await request(port('in'), path, { method, headers: HEADERS }, body);
  await converse(port('tcp'));
  await converse(port('dead'));
};

/** Leaves by their paths. What differs from run to run is only there. */
const flat = (value: unknown, path = ''): Map<string, unknown> => {
  const out = new Map<string, unknown>();
  const walk = (v: unknown, at: string): void => {
    if (typeof v !== 'object' || v === null) out.set(at, /port_value|nanos|seconds|_id$/.test(at) ? 'some' : v);
    // Zero is left out, of a whole second as well.
    else if (/time_to|duration|start_time/.test(at)) out.set(at, 'a time');
    else for (const [key, inner] of Object.entries(v)) walk(inner, `${at}.${key}`);
  };
  walk(value, path);
  return out;
};

/** What an answer's time upstream, one digit or two, makes of its sizes; Envoy has no words for 418, and counts a body behind an answer to HEAD. */
const OF_ITS_TIME = /response_headers_bytes$|downstream_header_bytes_sent$|downstream_wire_bytes_sent$/;
const NEARLY = (what: string, key: string, a: unknown, b: unknown): boolean =>
  (OF_ITS_TIME.test(key) && Math.abs(Number(a) - Number(b)) <= (what === '/tea' ? 5 : 2)) ||
  (what === '/web/head' && key.endsWith('upstream_wire_bytes_received'));

const differences = (theirs: readonly Sent[], ours: readonly Sent[]): string[] =>
  theirs.flatMap((entry, i) => {
    const [a, b] = [flat(entry), flat(ours[i])];
    const what = entry['request']?.path ?? 'connection';
    return [...new Set([...a.keys(), ...b.keys()])]
      .filter((key) => a.get(key) !== b.get(key) && !NEARLY(what, key, a.get(key), b.get(key)))
      .map((key) => `${what} ${key}: Envoy ${String(a.get(key))}, here ${String(b.get(key))}`);
  });

test('entries of exchanges and connections are those of Envoy, field by field', { skip: NO_ENVOY }, async () => {
  await using web = await startWeb();
  await using raw = await startBackend((socket, text) => socket.write(`echo ${text}`));
  await using logs = await startCollector();
  await using logsOfEnvoy = await startCollector();
  await using rig = await startLogging(resources(web.port, raw.port, logs.port));
  await using envoy = await startEnvoy(resources(web.port, raw.port, logsOfEnvoy.port));
  const all = (m: LogCollector['messages']): boolean => httpEntries(m).length >= 8 && tcpEntries(m).length >= 2;
  await drive(rig.port);
  await drive(envoy.port);
  await logs.until(all);
  await logsOfEnvoy.until(all);
  assert.deepEqual(differences(httpEntries(logsOfEnvoy.messages), httpEntries(logs.messages)), []);
  // Connections end in no order.
  const connections = (m: LogCollector['messages']) =>
    tcpEntries(m).sort((x, y) => Number('response_flags' in x['common_properties']) - Number('response_flags' in y['common_properties']));
  assert.deepEqual(differences(connections(logsOfEnvoy.messages), connections(logs.messages)), []);
});

const overTls = (web: number, logs: number) => {
  const strict = strictListener('in', { ...inlineSecrets, validation_context: { trusted_ca: { inline_string: mesh.pem } } });
  const [chain] = strict.filter_chains ?? [];
  return {
    clusters: [staticCluster('web', [web]), staticCluster('logs', [logs], HTTP2_CLUSTER)],
    listeners: [{ ...strict, filter_chains: [{ ...chain, filters: [hcm([toCluster('web')], { access_log: [httpLog()] })] }] }],
  };
};

test('what is told of a connection’s TLS is what Envoy tells: version, suite, name, both certificates', { skip: NO_ENVOY }, async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector();
  await using logsOfEnvoy = await startCollector();
  await using rig = await startLogging(overTls(web.port, logs.port));
  await using envoy = await startEnvoy(overTls(web.port, logsOfEnvoy.port));
  const own = mesh.issue({ uris: ['spiffe://cluster.local/ns/a/sa/b', 'spiffe://other/x'], dns: 'client.test', subject: 'Caller' });
  for (const port of [rig.port('in'), envoy.port('in')])
    await new Promise<void>((resolve) => {
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        ca: mesh.pem,
        cert: own.certificate,
        key: own.key,
        servername: 'asked.test',
        ciphers: 'TLS_AES_128_GCM_SHA256',
        checkServerIdentity: () => undefined,
      });
      socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'));
      socket.on('error', () => {});
      socket.resume();
      socket.on('close', () => resolve());
    });
  await logs.until((m) => m.length === 1);
  await logsOfEnvoy.until((m) => m.length === 1);
  const told = (m: LogCollector['messages']) => {
    const { tls_session_id: session, ...rest } = httpEntries(m)[0]?.['common_properties'].tls_properties ?? {};
    return [/^[0-9a-f]*$/.test(session ?? ''), rest];
  };
  assert.deepEqual(told(logs.messages), told(logsOfEnvoy.messages));
});

const plain = (logs: number, web: number, log: AccessLog = httpLog()) => ({
  clusters: [staticCluster('web', [web]), staticCluster('logs', [logs], HTTP2_CLUSTER)],
  listeners: [listener('in', hcm([toCluster('web')], { access_log: [log] }))],
});

test('the first message of a stream says who logs and under which name, and only that one; places of one configuration share it', async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector();
  const two = plain(logs.port, web.port);
  await using rig = await startLogging({
    ...two,
    listeners: [...two.listeners, listener('too', hcm([toCluster('web')], { access_log: [httpLog()] }))],
  });
  await request(rig.port('in'), '/1');
  await logs.until((m) => m.length === 1);
  await request(rig.port('too'), '/2');
  await logs.until((m) => m.length === 2);
  const [first, second] = logs.messages;
  assert.deepEqual([first?.path, first?.stream, second?.stream], [ALS_PATH, 0, 0]);
  assert.equal(first?.body['identifier']?.log_name, 'shop');
  assert.equal(first?.body['identifier']?.node.id, 'sidecar~1');
  assert.equal(first?.body['identifier']?.node.cluster, 'shop');
  assert.equal(second?.body['identifier'], undefined);
  assert.equal(rig.count(WRITTEN), 2);
});

test('text that is no UTF-8 is mended, as Envoy does', async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector();
  await using rig = await startLogging(plain(logs.port, web.port, httpLog({}, { additional_request_headers_to_log: ['x-odd', 'x-good'] })));
  const good = Buffer.from('grüße', 'utf8').toString('latin1');
  await request(rig.port('in'), '/', { headers: { 'x-odd': 'a\xffb\xe2\x82', 'x-good': good } });
  await logs.until((m) => m.length === 1);
  assert.deepEqual(httpEntries(logs.messages)[0]?.['request'].request_headers, { 'x-odd': 'a!b!!', 'x-good': 'grüße' });
});

test('entries wait for a service that comes late', async () => {
  await using web = await httpBackend(() => 'x');
  const port = await freePort();
  await using rig = await startLogging(plain(port, web.port));
  assert.equal(await request(rig.port('in'), '/early'), 200);
  while (!rig.problems.some((line) => line.includes('access logs are not taken'))) await new Promise((resolve) => setTimeout(resolve, 5));
  await using logs = await startCollector({ port });
  await logs.until((m) => httpEntries(m).length === 1);
  assert.equal(httpEntries(logs.messages)[0]?.['request'].path, '/early');
  assert.equal(rig.count(DROPPED), 0);
});

test('a service that takes nothing costs entries, counted, and no request; one that comes back has the next', async () => {
  await using web = await httpBackend(() => 'x');
  const deaf = await startCollector({ deaf: true, port: await freePort() });
  await using rig = await startLogging(
    plain(deaf.port, web.port, httpLog({ buffer_size_bytes: 1024 }, { additional_request_headers_to_log: ['x-big'] })),
  );
  const big = 'x'.repeat(12_000);
  let asked = 0;
  while (rig.count(DROPPED) === 0 && asked < 200) {
    assert.equal(await request(rig.port('in'), '/', { headers: { 'x-big': big } }), 200);
    asked++;
  }
  assert.ok(rig.count(DROPPED) > 0, `${asked} entries of 12 kB were held`);
  const { port } = deaf;
  await deaf[Symbol.asyncDispose]();
  await using logs = await startCollector({ port });
  await logs.until((m) => httpEntries(m).length > 0);
  await request(rig.port('in'), '/last', { headers: { 'x-big': '1' } });
  await logs.until((m) => httpEntries(m).some((entry) => entry['request'].path === '/last'));
  assert.equal(rig.count(WRITTEN) + rig.count(DROPPED) >= asked + 1, true);
});

test('a service that refuses every stream costs no request and is told of once', async () => {
  await using web = await httpBackend(() => 'x');
  await using logs = await startCollector({ refuse: 7 });
  await using rig = await startLogging(plain(logs.port, web.port));
  for (let i = 0; i < 5; i++) assert.equal(await request(rig.port('in'), `/${i}`), 200);
  while (rig.problems.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(rig.problems.length, 1);
  assert.match(rig.problems[0] ?? '', /access logs are not taken.*7/);
});

test('a log service without a name, or of a kind that cannot be honoured, is refused with its field', async () => {
  await using web = await httpBackend(() => 'x');
  const refusal = async (log: AccessLog): Promise<string> => {
    try {
      await using _ = await startLogging(plain(1, web.port, log));
      return 'taken';
    } catch (problem) {
      return problem instanceof Error ? problem.message : '';
    }
  };
  assert.match(await refusal(httpLog({ log_name: '' })), /common_config\.log_name.*is required/);
  assert.match(await refusal(httpLog({ grpc_service: {} })), /grpc_service\.envoy_grpc\.cluster_name.*is required/);
  assert.match(await refusal(httpLog({ buffer_flush_interval: '0s' })), /buffer_flush_interval/);
  assert.match(
    await refusal({ name: 'x', typed_config: { '@type': 'type.googleapis.com/test.Unknown', ...common() } }),
    /is not supported/,
  );
});
