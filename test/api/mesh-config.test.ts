import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultMeshConfig, parseMeshConfig } from '../../src/api/mesh-config/mesh-config.ts';
import { formatProblem } from '../../src/api/problem.ts';
import { missing, sharedFile } from './shared-data.ts';

const read = (text: string) => {
  const result = parseMeshConfig('mesh.yaml', text);
  assert.ok(result.ok, result.ok ? '' : result.error.map(formatProblem).join('\n'));
  return result.value;
};
const errors = (text: string): string[] => {
  const result = parseMeshConfig('mesh.yaml', text);
  assert.ok(!result.ok, 'should be refused');
  return result.error.filter((p) => p.severity === 'error').map(formatProblem);
};

test('an empty text gives the defaults', () => {
  const { config, problems } = read('');
  assert.deepEqual(problems, []);
  assert.deepEqual(config, defaultMeshConfig());
  assert.equal(config.trustDomain, 'cluster.local');
  assert.equal(config.rootNamespace, 'istio-system');
  assert.equal(config.outboundTrafficPolicy.mode, 'ALLOW_ANY');
  assert.equal(config.proxyListenPort, 15001);
  assert.equal(config.connectTimeout, '10s');
  assert.equal(config.accessLogFile, '');
  assert.equal(config.defaultHttpRetryPolicy, undefined);
  assert.equal(config.defaultConfig.drainDuration, '45s');
  assert.deepEqual(
    config.extensionProviders.map((p) => p.name),
    ['prometheus', 'stackdriver', 'envoy', 'skein'],
  );
});

test('what is written stands over the defaults, block by block', () => {
  const { config, problems } = read(`
accessLogFile: /dev/stdout
access_log_encoding: JSON
trustDomain: example.org
trustDomainAliases: [old.example.org]
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
connectTimeout: 500ms
pathNormalization: {normalization: MERGE_SLASHES}
localityLbSetting: {distribute: [{from: r1/*, to: {r1/*: 80, r2/*: 20}}]}
defaultHttpRetryPolicy: {attempts: 1, retryOn: connect-failure}
defaultProviders: {accessLogging: [envoy]}
extensionProviders:
- {name: envoy, envoyFileAccessLog: {path: /tmp/log}}
- {name: mine, envoyFileAccessLog: {path: /dev/stderr, logFormat: {labels: {a: '%RESPONSE_CODE%'}}}}
defaultConfig: {drainDuration: 5s, proxyMetadata: {A: b}}
`);
  assert.deepEqual(problems, []);
  assert.equal(config.accessLogEncoding, 'JSON');
  assert.equal(config.connectTimeout, '0.5s');
  assert.equal(config.localityLbSetting.enabled, true);
  assert.equal(config.localityLbSetting.distribute?.length, 1);
  assert.deepEqual(
    config.extensionProviders.map((p) => p.name),
    ['prometheus', 'stackdriver', 'skein', 'envoy', 'mine'],
  );
  assert.equal(config.extensionProviders[3]?.envoyFileAccessLog?.path, '/tmp/log');
  assert.equal(config.defaultConfig.drainDuration, '5s');
  assert.equal(config.defaultConfig.statusPort, 15020);
});

test('keys without effect yet are warnings', () => {
  const { problems } = read('ingressService: a\ndefaultConfig:\n  statNameLength: 100\nh2UpgradePolicy: UPGRADE\n');
  assert.deepEqual(
    problems.map((p) => [p.line, p.path, p.severity, p.code]),
    [
      [1, 'ingressService', 'warning', 'FIELD_NOT_YET_EFFECTIVE'],
      [3, 'defaultConfig.statNameLength', 'warning', 'FIELD_NOT_YET_EFFECTIVE'],
    ],
  );
});

test('unknown keys and wrong values are refused with line and path', () => {
  assert.deepEqual(errors('trustDomian: a\n'), [
    'mesh.yaml:1:1: error FIELD_UNKNOWN trustDomian: unknown field "trustDomian" (did you mean "trustDomain"?)',
  ]);
  assert.match(errors('outboundTrafficPolicy:\n  mode: ANY\n')[0] ?? '', /2:3: error FIELD_TYPE outboundTrafficPolicy\.mode/);
  assert.match(errors('connectTimeout: 0s')[0] ?? '', /at least 1ms/);
  assert.match(errors('defaultConfig: {proxyAdminPort: 70000}')[0] ?? '', /1\.\.65535/);
  assert.match(errors('trustDomain: a b')[0] ?? '', /trust domain name/);
  assert.match(
    errors('caCertificates: [{pem: a, trustDomains: [a.b, a b]}]')[0] ?? '',
    /caCertificates\[0\]\.trustDomains\[1\].*trust domain name/,
  );
  assert.deepEqual(read('caCertificates: [{pem: a, trustDomains: [a.b]}]').problems, []);
  assert.match(errors('extensionProviders: [{name: z, zipkin: {service: "a:9411", port: 9411}}]')[0] ?? '', /invalid/);
  assert.match(errors('defaultHttpRetryPolicy: {attempts: 0, retryOn: 5xx}')[0] ?? '', /disabled/);
  assert.match(errors('a: {')[0] ?? '', /YAML_SYNTAX/);
  assert.match(errors('{}\n---\n{trustDomain: a}')[0] ?? '', /one document/);
});

test('every recorded mesh configuration is read', { skip: missing('oracle/behaviour.jsonl') }, () => {
  const written = new Set<string>();
  for (const file of ['behaviour', 'xds']) {
    for (const line of (sharedFile(`oracle/${file}.jsonl`) ?? '').split('\n')) {
      if (line !== '') written.add(JSON.stringify((JSON.parse(line) as { meshConfig?: unknown }).meshConfig ?? {}));
    }
  }
  assert.ok(written.size > 2);
  // Every key is known; some change nothing here, which is told.
  const told = (text: string) => read(text).problems.filter((p) => p.code !== 'FIELD_NOT_YET_EFFECTIVE');
  for (const text of written) assert.deepEqual(told(text).map(formatProblem), []);
});

test('durations of the mesh have an end', () => {
  for (const fine of [
    'connectTimeout: 1h\n',
    'connectTimeout: 1ms\n',
    'protocolDetectionTimeout: 0s\n',
    'defaultConfig: {drainDuration: 1h}\n',
  ])
    assert.deepEqual(read(fine).problems, [], fine);
  assert.match(errors('connectTimeout: 3601s\n').join(), /connectTimeout: must be at most 1h/);
  assert.match(errors('protocolDetectionTimeout: 99us\n').join(), /at least 1ms/);
  assert.match(errors('defaultConfig: {drainDuration: 1500ms}\n').join(), /seconds precision/);
});

test('what is written may not be empty, and old or unknown words are warned of', () => {
  for (const field of ['configPath', 'binaryPath', 'serviceCluster', 'discoveryAddress'])
    assert.match(errors(`defaultConfig: {${field}: ''}\n`).join(), new RegExp(`defaultConfig\\.${field}: must not be empty`));
  const warned = (text: string): string[] => read(text).problems.map((p) => `${p.code} ${p.path}`);
  assert.ok(warned("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}}\n").some((w) => w.startsWith('DISCOURAGED ')));
  assert.deepEqual(
    warned('tlsDefaults: {ecdhCurves: [P-256, P-999, P-256]}\n').filter((w) => w.startsWith('DISCOURAGED')),
    ['DISCOURAGED tlsDefaults.ecdhCurves[1]', 'DISCOURAGED tlsDefaults.ecdhCurves[2]'],
  );
});
