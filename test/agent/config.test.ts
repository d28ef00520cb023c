// Flags and environment to a configuration, configuration to a bootstrap.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentConfigError, identityOf } from '../../src/agent/agent-config.ts';
import { agentFlagsHelp, parseAgentFlags } from '../../src/agent/agent-flags.ts';
import { BackOff } from '../../src/agent/back-off.ts';
import { makeBootstrap } from '../../src/agent/bootstrap.ts';
import { countOpenConnections } from '../../src/agent/envoy-process.ts';
import { targetOf, tokenMayTravel } from '../../src/agent/grpc-target.ts';
import { decode, encode } from '../../src/xds/codec.ts';
import { scratch } from './fake-control-plane.ts';
import { testConfig } from './setup.ts';

const BASE = ['--xds', 'unix:/run/xds.sock', '--run-dir', '/run/skein'];
const parse = (...argv: string[]) => parseAgentFlags([...BASE, ...argv], {}, 'agent');
const refused = (message: RegExp, ...argv: string[]): void => {
  assert.throws(
    () => parse(...argv),
    (e) => e instanceof AgentConfigError && message.test(e.message),
  );
};

test('every flag lands in the configuration; what is not ours is handed back', () => {
  const { config, rest, command } = parse(
    ...[
      '--name=web-0',
      '--namespace',
      'production',
      '--service-account',
      'web',
      '--ip',
      '10.244.0.5',
      '--ip',
      'fd00::5',
      '--labels',
      'app=web,version=v1',
    ],
    ...[
      '--workload',
      'web',
      '--trust-domain',
      'td',
      '--dns-upstream',
      '10.0.0.2',
      '--dns-upstream=[fd00::53]:5353',
      '--status-port',
      '1',
      '--stats-port',
      '2',
    ],
    ...[
      '--admin-port',
      '3',
      '--prometheus-port',
      '4',
      '--gateway',
      '--metadata-json',
      '{"A":{"b":1}}',
      '--bind-source',
      '10.244.0.5',
      '--app-port',
      '8080,9090',
    ],
    ...['--locality', 'r/z', '--log-file', 'x', '--', 'envoy', '--name', 'y'],
  );
  assert.deepEqual(rest, ['--log-file', 'x']);
  assert.deepEqual(command, ['envoy', '--name', 'y']);
  const { token, ...values } = config;
  assert.equal(token(), undefined);
  assert.deepEqual(values, {
    name: 'web-0',
    namespace: 'production',
    serviceAccount: 'web',
    workload: 'web',
    ips: ['10.244.0.5', 'fd00::5'],
    labels: { app: 'web', version: 'v1' },
    trustDomain: 'td',
    domain: 'cluster.local',
    clusterId: 'Kubernetes',
    meshId: 'td',
    locality: { region: 'r', zone: 'z' },
    xds: 'unix:/run/xds.sock',
    xdsCaPem: undefined,
    runDir: '/run/skein',
    dns: {
      listen: { host: '127.0.0.1', port: 15053 },
      upstreams: [
        { host: '10.0.0.2', port: 53 },
        { host: 'fd00::53', port: 5353 },
      ],
    },
    statusPort: 1,
    statsPort: 2,
    adminPort: 3,
    prometheusPort: 4,
    gateway: true,
    metadata: { A: { b: 1 } },
    bindSource: '10.244.0.5',
    appPorts: [8080, 9090],
    statusListener: 'agent',
    certificateTtlS: 86_400,
  });
  assert.equal(identityOf(config), 'spiffe://td/ns/production/sa/web');
});

test('wrong values are refused by flag name', () => {
  refused(/--ip: "x" is not an IP address/, '--ip', 'x');
  refused(/--status-port: "70000"/, '--status-port', '70000');
  refused(/--labels: "a" is not KEY=VALUE/, '--labels', 'a');
  refused(/--metadata-json is not a JSON object/, '--metadata-json', '[1]');
  refused(/--name needs a value/, '--name');
  refused(/--name is given twice/, '--name', 'a', '--name', 'b');
  refused(/--gateway takes no value/, '--gateway=yes');
  refused(/exclude each other/, '--token-fd', '3', '--token-file', '/x');
  refused(/--dns-upstream: "resolver"/, '--dns-upstream', 'resolver');
  assert.throws(() => parseAgentFlags(['--run-dir', '/x'], {}, 'agent'), /--xds is missing/);
  assert.throws(() => targetOf({ xds: 'nonsense', xdsCaPem: undefined, bindSource: undefined }), AgentConfigError);
});

test('the environment fills what flags leave out; our own address is no upstream', () => {
  const { config } = parseAgentFlags(
    [...BASE, '--namespace', 'b', '--dns-upstream', '127.0.0.1:15053,10.0.0.2'],
    { POD_NAME: 'p', POD_NAMESPACE: 'a', INSTANCE_IP: '10.0.0.9' },
    'proxy',
  );
  assert.deepEqual([config.name, config.namespace, config.ips, config.statusListener], ['p', 'b', ['10.0.0.9'], 'proxy']);
  assert.deepEqual(config.dns?.upstreams, [{ host: '10.0.0.2', port: 53 }]);
  assert.equal(parse('--no-dns').config.dns, undefined);
  assert.match(agentFlagsHelp(), /--token-fd N/);
});

test('a token comes from a file at each use, or once from a descriptor whose writer stays', () => {
  const { dir, remove } = scratch();
  try {
    const path = join(dir, 'token');
    writeFileSync(path, 'one\n');
    const { config } = parse('--token-file', path);
    assert.equal(config.token(), 'one');
    writeFileSync(path, 'two\n');
    assert.equal(config.token(), 'two');
    const program = `import { parseAgentFlags } from ${JSON.stringify(new URL('../../src/agent/agent-flags.ts', import.meta.url).href)};
      console.log(parseAgentFlags(${JSON.stringify([...BASE, '--token-fd', '0'])}, {}, 'agent').config.token());`;
    const file = join(dir, 'read.mjs');
    writeFileSync(file, program);
    const { stdout } = spawnSync(process.execPath, [file], { input: 'from-descriptor\nrest', encoding: 'utf8' });
    assert.equal(stdout.trim(), 'from-descriptor');
  } finally {
    remove();
  }
});

test('a token travels only over sockets of this machine or TLS', () => {
  const may = (xds: string, xdsCaPem?: string): boolean => tokenMayTravel(targetOf({ xds, xdsCaPem, bindSource: '10.0.0.1' }));
  assert.deepEqual([may('unix:/x'), may('127.0.0.1:15010'), may('localhost:1'), may('[::1]:1')], [true, true, true, true]);
  assert.deepEqual([may('istiod:15010'), may('10.0.0.7:15010'), may('127.0.0.1.example.com:1')], [false, false, false]);
  assert.equal(may('istiod:15012', 'PEM'), true);
});

test('the bootstrap is valid Envoy configuration and says who and where', () => {
  const config = testConfig('/run/x', {
    adminPort: 15000,
    statsPort: 15020,
    statusPort: 15021,
    prometheusPort: 15090,
    bindSource: '10.244.0.5',
    gateway: true,
    locality: { region: 'r' },
    metadata: { NETWORK: 'n', CLUSTER_ID: 'c' },
  });
  const bootstrap = makeBootstrap(config);
  const back = decode('envoy.config.bootstrap.v3.Bootstrap', encode('envoy.config.bootstrap.v3.Bootstrap', bootstrap));
  assert.deepEqual(back, bootstrap);
  assert.equal(back.node?.id, 'router~10.244.0.5~web-0.production~production.svc.cluster.local');
  assert.equal(back.node?.cluster, 'web.production');
  assert.deepEqual(back.node?.metadata, {
    NAME: 'web-0',
    NAMESPACE: 'production',
    INSTANCE_IPS: '10.244.0.5',
    LABELS: { app: 'web', version: 'v1' },
    SERVICE_ACCOUNT: 'web',
    WORKLOAD_NAME: 'web',
    CLUSTER_ID: 'c',
    MESH_ID: 'cluster.local',
    INTERCEPTION_MODE: 'NONE',
    ENVOY_PROMETHEUS_PORT: 15090,
    ENVOY_STATUS_PORT: 15021,
    HTTP10: '1',
    DNS_CAPTURE: 'true',
    POD_PORTS: '[{"containerPort":8080,"protocol":"TCP"}]',
    NETWORK: 'n',
  });
  assert.deepEqual(back.cluster_manager?.upstream_bind_config?.source_address?.address, '10.244.0.5');
  assert.deepEqual(
    back.static_resources?.clusters?.map((c) => c.name).sort(),
    ['agent', 'prometheus_stats'],
    'no socket inside the process',
  );
  const besideEnvoy = makeBootstrap({ ...config, statusListener: 'proxy' });
  const clusters = new Map(besideEnvoy.static_resources?.clusters?.map((c) => [c.name, c]));
  assert.deepEqual([...clusters.keys()].sort(), ['agent', 'prometheus_stats', 'sds-grpc', 'xds-grpc']);
  const pipe = clusters.get('sds-grpc')?.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address?.pipe;
  assert.equal(pipe?.path, '/run/x/run/xds.sock');
  const ports = (b: typeof back) => b.static_resources?.listeners?.map((l) => l.address?.socket_address?.port_value);
  assert.deepEqual(ports(back), [15090], 'the agent listens on 15021 itself');
  assert.deepEqual(ports(besideEnvoy), [15090, 15021]);
});

test('back-off grows, is jittered, ends at its maximum and starts again', () => {
  const backOff = new BackOff({ first: 100, max: 1_000 }, () => 1);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => backOff.nextMs()),
    [100, 200, 400, 800, 1_000, 1_000],
  );
  backOff.reset();
  assert.equal(backOff.nextMs(), 100);
  assert.equal(new BackOff({ first: 100, max: 1_000 }, () => 0).nextMs(), 50);
});

test('open connections are counted without the admin’s, the workers’ and our own ports', () => {
  const page = [
    'listener.0.0.0.0_15006.downstream_cx_active: 3',
    'listener.0.0.0.0_15006.worker_0.downstream_cx_active: 3',
    'listener.0.0.0.0_15021.downstream_cx_active: 5',
    'listener.admin.downstream_cx_active: 1',
    'listener.10.0.0.1_80.downstream_cx_active: 2',
    'cluster.x.upstream_cx_active: 9',
  ].join('\n');
  assert.equal(countOpenConnections(page, [15021]), 5);
});
