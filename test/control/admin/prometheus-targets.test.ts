// What Prometheus is told to scrape: every replica with a sidecar, under labels that dashboards know.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { stringify } from 'yaml';
import { directConfig, doorConfig } from '../../../src/cli/prometheus-config.ts';
import { prometheusTargets } from '../../../src/control/admin/prometheus-targets.ts';
import { absent, type RealPrometheus, startPrometheus } from '../../dashboards/real-prometheus.ts';
import { startRig } from '../rig.ts';

const node = (name: string, extra: object = {}) => ({
  kind: 'sidecar' as const,
  name,
  namespace: 'n',
  labels: { app: 'a', version: 'v1', tier: 'back' },
  ipAddresses: ['10.0.0.1'],
  metadata: { WORKLOAD_NAME: 'a-v1' },
  ...extra,
});
const replica = (name: string, extra: object = {}) => ({
  name,
  namespace: 'n',
  workload: 'a-v1',
  address: '10.0.0.2',
  labels: { app: 'a' },
  meshed: true,
  ...extra,
});

describe('targets', () => {
  test('say where, and who by few labels', () => {
    assert.deepEqual(prometheusTargets([node('a-0')], []), [
      {
        targets: ['10.0.0.1:15020'],
        labels: { __metrics_path__: '/stats/prometheus', namespace: 'n', pod: 'a-0', workload: 'a-v1', app: 'a', version: 'v1' },
      },
    ]);
  });

  test('hold a replica once, also when it is not connected, and none that has no sidecar', () => {
    const nodes = [node('b-0', { ipAddresses: ['10.0.0.2'] }), node('grpc-0', { kind: 'grpc' }), node('nowhere-0', { ipAddresses: [] })];
    const found = prometheusTargets(nodes, [
      replica('b-0'),
      replica('a-0', { address: 'fd00::1' }),
      replica('legacy-0', { meshed: false }),
    ]);
    assert.deepEqual(
      found.map((g) => [g.labels['pod'], ...g.targets]),
      [
        ['a-0', '[fd00::1]:15020'],
        ['b-0', '10.0.0.2:15020'],
      ],
    );
  });

  test('are served by the admin API as HTTP service discovery', async () => {
    const rig = await startRig({});
    try {
      const body = { workload: 'a', address: '10.244.0.2', labels: {}, serviceAccount: 'a', ports: [], ready: true, meshed: true };
      assert.equal((await rig.admin('PUT', '/v1/instances/n/a-0', body)).status, 200);
      assert.deepEqual((await rig.admin('GET', '/v1/prometheus/targets')).body, [
        { targets: ['10.244.0.2:15020'], labels: { __metrics_path__: '/stats/prometheus', namespace: 'n', pod: 'a-0', workload: 'a' } },
      ]);
    } finally {
      await rig.close();
    }
  });
});

test('Prometheus takes the configuration for the door', { skip: absent('promtool') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-prometheus-'));
  try {
    writeFileSync(join(folder, 'rules.yaml'), 'groups: []\n');
    const config = doorConfig('127.0.0.1:9464', { interval: '15s', rules: [join(folder, 'rules.yaml')] });
    writeFileSync(join(folder, 'prometheus.yaml'), stringify(config));
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'config', join(folder, 'prometheus.yaml')], { encoding: 'utf8' });
    assert.equal(status, 0, `${stdout}${stderr}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

interface Targets {
  readonly activeTargets: readonly {
    readonly scrapeUrl: string;
    readonly health: string;
    readonly labels: Readonly<Record<string, string>>;
  }[];
}

test('Prometheus finds and reads them by the admin port with a token for reading', {
  skip: absent('prometheus'),
  timeout: 120_000,
}, async () => {
  const rig = await startRig({}, { adminPorts: ['tls:127.0.0.1:0'] });
  let prometheus: RealPrometheus | undefined;
  try {
    const body = { workload: 'a', address: '127.0.0.1', labels: {}, serviceAccount: 'a', ports: [], ready: true, meshed: true };
    await rig.admin('PUT', '/v1/instances/n/a-0', body);
    const { token } = (await rig.admin('POST', '/v1/access-tokens', { role: 'read' })).body as { readonly token: string };
    const files = { tokenFile: join(rig.root, 'token'), caFile: join(rig.root, 'roots.pem') };
    writeFileSync(files.tokenFile, token);
    const issued = readdirSync(join(rig.state, 'ca'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pem'));
    const texts = issued.map((name) => readFileSync(join(rig.state, 'ca', name), 'utf8'));
    writeFileSync(files.caFile, texts.filter((text) => text.includes('BEGIN CERTIFICATE')).join(''));
    const url = new URL(rig.controlPlane.adminPorts[0] ?? '');
    prometheus = await startPrometheus(stringify(directConfig({ url, ...files }, { interval: '200ms', rules: [] })));
    for (;;) {
      const { activeTargets } = (await prometheus.api('targets?state=active')).data as Targets;
      const sidecar = activeTargets.find((t) => t.labels['pod'] === 'a-0');
      const controlPlane = activeTargets.find((t) => t.labels['app'] === 'istiod');
      if (sidecar !== undefined && controlPlane?.health === 'up') {
        assert.equal(sidecar.scrapeUrl, 'http://127.0.0.1:15020/stats/prometheus');
        break;
      }
      assert.notEqual(controlPlane?.health, 'down', JSON.stringify(controlPlane));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await prometheus?.stop();
    await rig.close();
  }
});
