import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultMeshConfig, parseMeshConfig } from '../../src/api/mesh-config.ts';
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
    ['prometheus', 'stackdriver', 'envoy'],
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
  // Read, and said to change nothing: no field is taken in silence.
  assert.deepEqual(
    problems.map((p) => [p.severity, p.code, p.path]),
    [
      'defaultProviders.accessLogging',
      'extensionProviders[0].envoyFileAccessLog',
      'extensionProviders[1].envoyFileAccessLog',
      'defaultConfig.drainDuration',
      'defaultConfig.proxyMetadata',
    ].map((path) => ['warning', 'FIELD_NOT_YET_EFFECTIVE', path]),
  );
  assert.equal(config.accessLogEncoding, 'JSON');
  assert.equal(config.connectTimeout, '0.5s');
  assert.equal(config.localityLbSetting.enabled, true);
  assert.equal(config.localityLbSetting.distribute?.length, 1);
  assert.deepEqual(
    config.extensionProviders.map((p) => p.name),
    ['prometheus', 'stackdriver', 'envoy', 'mine'],
  );
  assert.equal(config.extensionProviders[2]?.envoyFileAccessLog?.path, '/tmp/log');
  assert.equal(config.defaultConfig.drainDuration, '5s');
  assert.equal(config.defaultConfig.statusPort, 15020);
});

test('keys without effect yet are warnings', () => {
  const { problems } = read('enableTracing: true\ndefaultConfig:\n  tracing: {sampling: 100}\nh2UpgradePolicy: UPGRADE\n');
  assert.deepEqual(
    problems.map((p) => [p.line, p.path, p.severity, p.code]),
    [
      [1, 'enableTracing', 'warning', 'FIELD_NOT_YET_EFFECTIVE'],
      [3, 'defaultConfig.tracing', 'warning', 'FIELD_NOT_YET_EFFECTIVE'],
    ],
  );
});

test('unknown keys and wrong values are refused with line and path', () => {
  assert.deepEqual(errors('trustDomian: a\n'), [
    'mesh.yaml:1:1: error FIELD_UNKNOWN trustDomian: unknown field "trustDomian" (did you mean "trustDomain"?)',
  ]);
  assert.match(errors('outboundTrafficPolicy:\n  mode: ANY\n')[0] ?? '', /2:3: error FIELD_TYPE outboundTrafficPolicy\.mode/);
  assert.match(errors('outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}')[0] ?? '', /not yet supported/);
  assert.match(errors('connectTimeout: 0s')[0] ?? '', /at least 1ms/);
  assert.match(errors('defaultConfig: {proxyAdminPort: 70000}')[0] ?? '', /1\.\.65535/);
  assert.match(errors('trustDomain: a b')[0] ?? '', /trust domain name/);
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
