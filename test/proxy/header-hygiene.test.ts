// What a client may say of itself: names of others, addresses, certificates, wishes to the router. Each is kept, removed or written anew as
// stock Envoy does it (where one is installed), for each of Istio's ways to configure it; what matters most is pinned here everywhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpConnectionManager } from '../../src/xds/gen/types.ts';
import { hcm, httpBackend, listener, RawClient, startPlane, staticCluster, toCluster } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

const NAMES = [
  'x-envoy-retriable-status-codes',
  'x-envoy-retriable-header-names',
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-force-trace',
  'x-envoy-ip-tags',
  'x-envoy-original-path',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-internal',
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-external-address',
  'x-envoy-attempt-count',
  'x-envoy-original-host',
  'x-envoy-original-url',
  'x-envoy-original-method',
  'x-envoy-peer-metadata',
  'x-envoy-peer-metadata-id',
  'x-envoy-original-dst-host',
  'x-envoy-fault-abort-request',
  'x-envoy-fault-delay-request',
  'x-envoy-degraded',
  'x-envoy-immediate-health-check-fail',
  'x-envoy-is-timeout-retry',
  'x-envoy-local-overloaded',
  'x-envoy-ratelimited',
  'x-envoy-upstream-canary',
  'x-envoy-upstream-stream-duration-ms',
  'x-envoy-not-forwarded',
  'x-envoy-auth-partial-body',
  'x-envoy-client-address',
  'x-envoy-cluster',
  'x-envoy-original-scheme',
  'x-envoy-load-balancing-dummy',
];
const value = (name: string): string => (/ms$|codes|retries|count/.test(name) ? '7' : 'evil');

const SAID: readonly (readonly [what: string, head: string])[] = [
  ...NAMES.map((name): [string, string] => [name, `${name}: ${value(name)}\r\n`]),
  ['xff1', 'x-forwarded-for: 1.2.3.4\r\n'],
  ['xff2', 'x-forwarded-for: 1.2.3.4, 5.6.7.8\r\n'],
  ['xff10', 'x-forwarded-for: 10.0.0.1\r\n'],
  ['xffbad', 'x-forwarded-for: evil\r\n'],
  ['xffempty', 'x-forwarded-for: \r\n'],
  ['xfftwo', 'x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\n'],
  ['xff6', 'x-forwarded-for: 2001:db8::1\r\n'],
  ['xffport', 'x-forwarded-for: 1.2.3.4:99\r\n'],
  ['xff3', 'x-forwarded-for: 1.1.1.1,2.2.2.2,3.3.3.3\r\n'],
  ['xff6b', 'x-forwarded-for: [2001:db8::1]:88\r\n'],
  ['xffspace', 'x-forwarded-for: 1.2.3.4 5.6.7.8\r\n'],
  ['xffcomma', 'x-forwarded-for: ,1.2.3.4,\r\n'],
  ['proto', 'x-forwarded-proto: https\r\n'],
  ['protobad', 'x-forwarded-proto: ftp\r\n'],
  ['protoxff', 'x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\n'],
  ['protoup', 'x-forwarded-proto: HTTPS\r\n'],
  ['port', 'x-forwarded-port: 99\r\n'],
  ['host', 'x-forwarded-host: evil\r\n'],
  ['xfcc', 'x-forwarded-client-cert: By=evil;URI=spiffe://cluster.local/ns/a/sa/b\r\n'],
  ['xfcc2', 'x-forwarded-client-cert: a\r\nx-forwarded-client-cert: b\r\n'],
  ['rid', 'x-request-id: 11111111-1111-4111-8111-111111111111\r\n'],
  ['ridbad', 'x-request-id: evil\r\n'],
  ['via', 'via: 1.1 evil\r\n'],
  ['expect', 'expect: 100-continue\r\n'],
  ['te', 'te: trailers, gzip\r\n'],
  ['conn', 'connection: x-secret, close\r\nx-secret: 1\r\n'],
  ['connxff', 'connection: x-forwarded-for\r\nx-forwarded-for: 1.2.3.4\r\n'],
  ['under', 'x_forwarded_client_cert: evil\r\nx_envoy_internal: true\r\n'],
  ['pa', 'proxy-connection: keep-alive\r\nkeep-alive: 3\r\nupgrade: foo\r\n'],
  ['origscheme', 'x-envoy-force-trace: true\r\nx-forwarded-for: 127.0.0.1\r\n'],
  ['int10', 'x-forwarded-for: 10.0.0.1\r\nx-envoy-retry-on: 5xx\r\nx-envoy-internal: true\r\n'],
  ['int2', 'x-forwarded-for: 1.2.3.4,10.0.0.1\r\nx-envoy-retry-on: 5xx\r\nx-envoy-internal: true\r\n'],
  ['xfscheme', 'x-forwarded-scheme: https\r\n'],
  ['ext', 'x-envoy-external-address: 6.6.6.6\r\nx-forwarded-for: 1.2.3.4\r\n'],
];

const MANAGERS: { readonly [name: string]: Partial<HttpConnectionManager> } = {
  sidecar: {
    use_remote_address: false,
    forward_client_cert_details: 'APPEND_FORWARD',
    set_current_client_cert_details: { subject: true, dns: true, uri: true },
  },
  edge: {
    use_remote_address: true,
    forward_client_cert_details: 'SANITIZE_SET',
    set_current_client_cert_details: { subject: true, cert: true, dns: true, uri: true },
  },
  edge1: { use_remote_address: true, xff_num_trusted_hops: 1, forward_client_cert_details: 'SANITIZE_SET' },
  edge2: { use_remote_address: true, xff_num_trusted_hops: 2, forward_client_cert_details: 'FORWARD_ONLY' },
  always: { use_remote_address: true, forward_client_cert_details: 'ALWAYS_FORWARD_ONLY', append_x_forwarded_port: true },
  internal: {
    use_remote_address: false,
    internal_address_config: {
      cidr_ranges: [
        { address_prefix: '10.0.0.0', prefix_len: 8 },
        { address_prefix: '127.0.0.0', prefix_len: 8 },
      ],
    },
  },
  edgeint: {
    use_remote_address: true,
    internal_address_config: {
      cidr_ranges: [
        { address_prefix: '127.0.0.0', prefix_len: 8 },
        { address_prefix: '10.0.0.0', prefix_len: 8 },
      ],
    },
  },
  side1: { use_remote_address: false, xff_num_trusted_hops: 1 },
  skip: { use_remote_address: true, skip_xff_append: true, via: 'skein' },
};

/** What the server is told, line by line, without what differs by itself. */
const told = async (port: number, head: string): Promise<string> => {
  const client = await RawClient.open(port);
  try {
    const end = /connection: /.test(head) ? '' : 'connection: close\r\n';
    const first = await client.send(`GET /p HTTP/1.1\r\nhost: a.test\r\n${head}${end}\r\n`).response();
    const last = first.status === 100 ? await client.response() : first;
    return `${first.status === 100 ? '100 ' : ''}${last.status} ${plain(last.body)}`;
  } catch {
    return 'closed';
  } finally {
    client.close();
  }
};

// Values of one name are one list, whether they stand in one line or in several.
const plain = (body: string): string => {
  const lists = new Map<string, string>();
  for (const line of body.split('\n')) {
    const [name = '', text = ''] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)];
    if (name === 'host' || name === 'date') continue;
    const own =
      name === 'x-request-id' && !/^(?:1111|evil)/.test(text) ? 'made' : name === 'x-forwarded-port' && text.length > 2 ? 'own' : text;
    lists.set(name, lists.has(name) ? `${lists.get(name)},${own}` : own);
  }
  return [...lists]
    .map(([name, text]) => `${name}: ${text}`)
    .toSorted()
    .join('\n');
};

const echo = () => httpBackend((_n, head) => head.split('\r\n').slice(1).join('\n'));
const stage = (port: number) => ({
  clusters: [staticCluster('b', [port], { type: 'STATIC' })],
  listeners: Object.entries(MANAGERS).map(([name, more]) => listener(name, hcm([toCluster('b')], more))),
});

test('an edge believes nothing that steers the proxy or names somebody', async () => {
  await using backend = await echo();
  await using plane = await startPlane(stage(backend.port));
  const evil = NAMES.filter((name) =>
    /retry-|retries|rq-timeout|internal|external-address|original-(?:path|host|url)|decorator|downstream-service/.test(name),
  );
  const head = evil.map((name) => `${name}: ${value(name)}\r\n`).join('');
  const seen = await told(
    plane.port('edge'),
    `${head}x-forwarded-client-cert: By=evil\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\n`,
  );
  assert.doesNotMatch(seen, /evil|: 7$|x-envoy-internal|client-cert|https/m);
  assert.match(seen, /^x-forwarded-for: 10\.0\.0\.1,/m);
  assert.match(seen, /^x-envoy-external-address: 127\.0\.0\.1$/m, 'no hop is trusted');
});

test('only an address counts as the client that a trusted proxy names, and only at its place from the right', async () => {
  await using backend = await echo();
  await using plane = await startPlane(stage(backend.port));
  const client = async (on: string, list: string) =>
    /^x-envoy-external-address: (.*)$/m.exec(await told(plane.port(on), `x-forwarded-for: ${list}\r\n`))?.[1];
  assert.equal(await client('edge1', '1.2.3.4'), '1.2.3.4');
  assert.equal(await client('edge1', '6.6.6.6, 1.2.3.4'), '1.2.3.4');
  assert.equal(await client('edge2', '6.6.6.6, 1.2.3.4, 5.6.7.8'), '1.2.3.4');
  assert.equal(await client('edge2', '1.2.3.4'), '127.0.0.1');
  for (const odd of ['1.2.3.4:99', '[2001:db8::1]:88', 'evil', '1.2.3.4 5.6.7.8', ''])
    assert.equal(await client('edge1', odd), '127.0.0.1', odd);
});

test('each is treated as stock Envoy treats it', { skip: NO_ENVOY, timeout: 120_000 }, async () => {
  await using backend = await echo();
  await using plane = await startPlane(stage(backend.port));
  await using envoy = await startEnvoy(stage(backend.port));
  for (const manager of Object.keys(MANAGERS))
    for (const [what, head] of SAID) {
      const [ours, theirs] = await Promise.all([told(plane.port(manager), head), told(envoy.port(manager), head)]);
      assert.equal(ours, theirs, `${manager}: ${what}`);
    }
});
