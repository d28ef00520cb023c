// Configuration on demand, end to end: a sidecar is given what it uses, and nothing else.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { freePort } from '../../free-port.ts';
import { eventually } from '../rig.ts';
import { bootstrapOf, entry, nodeOf, type OnDemandMesh, type Sidecar, startMesh, startService } from './on-demand-mesh.ts';

const PORT = 8080;

/** One connection through the sidecar: what came until it ended, or until `enough`. */
const talk = (mesh: OnDemandMesh, sent: string, enough: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    let heard = '';
    const socket = connect(mesh.outboundPort, '127.0.0.1');
    const done = (): void => {
      socket.destroy();
      resolve(heard);
    };
    socket.setTimeout(9_000, () => {
      socket.destroy();
      reject(new Error(`no answer: ${JSON.stringify(heard)}`));
    });
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
      if (enough.test(heard)) done();
    });
    socket.on('error', done);
    socket.on('end', done);
    if (sent !== '') socket.write(sent);
  });

const get = async (mesh: OnDemandMesh, host: string, path = '/'): Promise<{ readonly status: number; readonly body: string }> => {
  const text = await talk(mesh, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`, /never/);
  return { status: Number(text.split(' ')[1]), body: text.slice(text.indexOf('\r\n\r\n') + 4) };
};

const clusterNames = (s: Sidecar): string[] => [...s.plane.clusters()].map((c) => c.name).filter((n) => n.startsWith('outbound|'));
const hostNames = (s: Sidecar): string[] => [...s.plane.routes()].flatMap((r) => (r.virtual_hosts ?? []).map((h) => h.name ?? '')).sort();

const ENVOY = [process.env['ENVOY'], join(process.env['HOME'] ?? '/root', '.cache/skein-test/envoy')].find(
  (p) => p !== undefined && existsSync(p) && spawnSync(p, ['--version']).status === 0,
);

/** With an incremental stream, and the wish. */
const startEnvoy = (mesh: OnDemandMesh): ChildProcess => {
  const file = join(mesh.rig.root, 'envoy.json');
  const { node: _, ...rest } = bootstrapOf(nodeOf('envoy', true));
  const address = { socket_address: { address: '127.0.0.1', port_value: mesh.xdsPort } };
  writeFileSync(
    file,
    JSON.stringify({
      node: nodeOf('envoy', true),
      ...rest,
      static_resources: {
        clusters: [
          {
            name: 'xds',
            type: 'STATIC',
            connect_timeout: '1s',
            typed_extension_protocol_options: {
              'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
                '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
                explicit_http_config: { http2_protocol_options: {} },
              },
            },
            load_assignment: { cluster_name: 'xds', endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
          },
        ],
      },
    }),
  );
  const out = process.env['ENVOY_LOG'] === undefined ? 'ignore' : 'inherit';
  const level = process.env['ENVOY_LOG'] ?? 'off';
  return spawn(ENVOY ?? '', ['-c', file, '-l', level, '--disable-hot-restart', '--concurrency', '1'], { stdio: ['ignore', 'ignore', out] });
};

const split = (host: string, other: string, weight: number): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: shop}
spec:
  hosts: [${host}]
  http:
  - route:
    - {destination: {host: ${host}}, weight: ${100 - weight}}
    - {destination: {host: ${other}}, weight: ${weight}}
`;

describe('configuration on demand', () => {
  test('a request waits for its virtual host and its cluster; what nobody calls is not there', async () => {
    const a = await startService('a');
    const services = [entry('a.example', '240.1.0.1', PORT, a.port)];
    for (let i = 0; i < 50; i++) services.push(entry(`unused-${i}.example`, `240.2.0.${i + 1}`, PORT, a.port));
    const mesh = await startMesh(services.join('---\n'));
    try {
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      const sidecar = await mesh.sidecar();
      assert.deepEqual(clusterNames(sidecar), []);
      assert.deepEqual(hostNames(sidecar), []);
      assert.deepEqual(await get(mesh, 'a.example'), { status: 200, body: 'a' });
      assert.deepEqual(clusterNames(sidecar), [`outbound|${PORT}||a.example`]);
      assert.deepEqual(hostNames(sidecar), [`a.example:${PORT}`]);
      assert.deepEqual(await get(mesh, `A.example:${PORT}`), { status: 200, body: 'a' });
      assert.deepEqual(hostNames(sidecar), [`a.example:${PORT}`], 'another spelling is the same virtual host');
      assert.deepEqual(
        sidecar.problems.filter((p) => p.includes('refused')),
        [],
      );
    } finally {
      await mesh.close();
      a.server.close();
    }
  });

  test('what changes is pushed alone: one virtual host of many', async () => {
    const [a, b] = [await startService('a'), await startService('b')];
    const services = [entry('a.example', '240.1.0.1', PORT, a.port), entry('b.example', '240.1.0.2', PORT, b.port)];
    for (let i = 0; i < 100; i++) services.push(entry(`other-${i}.example`, `240.2.0.${i + 1}`, PORT, a.port));
    const mesh = await startMesh(services.join('---\n'));
    try {
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      const sidecar = await mesh.sidecar();
      assert.equal((await get(mesh, 'a.example')).body, 'a');
      const before = sidecar.received();
      mesh.rig.save('rule.yaml', split('a.example', 'b.example', 100));
      await eventually('the rule is followed', () => clusterNames(sidecar).length === 1 && sidecar.received() > before);
      assert.equal((await get(mesh, 'a.example')).body, 'b');
      const sent = sidecar.received() - before;
      assert.ok(sent < 6_000, `${sent} bytes for one virtual host and one cluster`);
      const again = sidecar.received();
      mesh.rig.save('rule.yaml', split('a.example', 'b.example', 60));
      await eventually('the weight is pushed', () => sidecar.received() > again);
      assert.ok(sidecar.received() - again < 2_000, `${sidecar.received() - again} bytes for one weight`);
      assert.deepEqual(hostNames(sidecar), [`a.example:${PORT}`]);
    } finally {
      await mesh.close();
      a.server.close();
      b.server.close();
    }
  });

  test('a host that nobody serves is answered as the mesh says, until somebody serves it', async () => {
    const a = await startService('a');
    const here = entry('a.example', '240.1.0.1', PORT, a.port);
    const mesh = await startMesh(here, { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } });
    try {
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      const sidecar = await mesh.sidecar();
      assert.equal((await get(mesh, 'late.example')).status, 502);
      assert.equal((await get(mesh, 'never.example')).status, 502);
      assert.equal((await get(mesh, 'a.example')).status, 200, 'what is unknown hides nothing else');
      mesh.rig.save('late.yaml', entry('late.example', '240.1.0.7', PORT, a.port));
      await eventually('it is pushed', () => hostNames(sidecar).includes(`late.example:${PORT}`));
      assert.equal((await get(mesh, 'late.example')).status, 200);
      mesh.rig.save('late.yaml', '');
      await eventually('it is taken back', () => !hostNames(sidecar).includes(`late.example:${PORT}`));
      assert.equal((await get(mesh, 'late.example')).status, 502);
      assert.equal((await get(mesh, 'a.example')).status, 200);
    } finally {
      await mesh.close();
      a.server.close();
    }
  });

  test('a TCP connection waits for the listener of its address; an unknown address is passed through', async () => {
    const [a, far] = [await startService('tcp a', 'tcp'), await startService('far', 'tcp')];
    const mesh = await startMesh(
      [entry('a.example', '240.1.0.1', 9000, a.port, 'TCP'), entry('b.example', '240.1.0.2', 9000, a.port, 'TCP')].join('---\n'),
    );
    try {
      const sidecar = await mesh.sidecar();
      const names = (): string[] => [...sidecar.plane.listeners()].map((l) => l.name).filter((n) => n.startsWith('240.'));
      assert.deepEqual(names(), []);
      mesh.goesTo = { ip: '240.1.0.1', port: 9000 };
      assert.equal(await talk(mesh, '', /tcp a/), 'tcp a');
      assert.deepEqual(names(), ['240.1.0.1_9000']);
      assert.deepEqual(clusterNames(sidecar), ['outbound|9000||a.example']);
      mesh.goesTo = { ip: '127.0.0.1', port: far.port };
      assert.equal(await talk(mesh, '', /far/), 'far');
      const begun = performance.now();
      assert.equal(await talk(mesh, '', /far/), 'far');
      assert.ok(performance.now() - begun < 1_000, 'it is remembered');
      assert.deepEqual(names(), ['240.1.0.1_9000']);
    } finally {
      await mesh.close();
      a.server.close();
      far.server.close();
    }
  });

  test('no request is lost while virtual hosts come, change and go', async () => {
    const [a, b] = [await startService('a'), await startService('b')];
    const services = ['x', 'y'].map((n, i) => entry(`${n}.example`, `240.1.0.${i + 1}`, PORT, i === 0 ? a.port : b.port));
    for (let i = 0; i < 40; i++) services.push(entry(`s${i}.example`, `240.3.0.${i + 1}`, PORT, a.port));
    const mesh = await startMesh(services.join('---\n'));
    try {
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      await mesh.sidecar();
      const statuses = new Map<number, number>();
      let left = 600;
      const worker = async (): Promise<void> => {
        while (left-- > 0) {
          const { status } = await get(mesh, left % 3 === 0 ? `s${left % 40}.example` : 'x.example');
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      };
      const edits = (async () => {
        for (let i = 0; left > 0; i++) {
          mesh.rig.save('rule.yaml', i % 3 === 0 ? '' : split('x.example', 'y.example', 20 + (i % 60)));
          mesh.rig.save('more.yaml', i % 2 === 0 ? '' : entry(`new-${i}.example`, '240.9.0.1', PORT, a.port));
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
      })();
      await Promise.all(Array.from({ length: 20 }, worker));
      await edits;
      assert.deepEqual([...statuses], [[200, 600]]);
    } finally {
      await mesh.close();
      a.server.close();
      b.server.close();
    }
  });
  test('after the control plane has been away, what is there is kept and changes come', async () => {
    const a = await startService('a');
    const mesh = await startMesh(
      [entry('a.example', '240.1.0.1', PORT, a.port), entry('b.example', '240.1.0.2', PORT, a.port)].join('---\n'),
    );
    try {
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      const sidecar = await mesh.sidecar();
      assert.equal((await get(mesh, 'a.example')).status, 200);
      const before = sidecar.received();
      mesh.cut();
      assert.equal((await get(mesh, 'a.example')).status, 200, 'no control plane is needed for what was used');
      assert.equal((await get(mesh, 'b.example')).status, 200, 'what is new waits for the stream to come back');
      assert.ok(sidecar.received() - before < 8_000, `${sidecar.received() - before} bytes: nothing comes twice`);
      mesh.rig.save('rule.yaml', split('a.example', 'b.example', 60));
      await eventually('changes come', () =>
        [...sidecar.plane.routes()][0]?.virtual_hosts?.some((h) => h.routes?.[0]?.route?.weighted_clusters),
      );
      assert.deepEqual(clusterNames(sidecar), [`outbound|${PORT}||a.example`, `outbound|${PORT}||b.example`]);
    } finally {
      await mesh.close();
      a.server.close();
    }
  });

  test('what nobody uses is let go, and asked for again by the next request', async () => {
    const [a, t] = [await startService('a'), await startService('tcp', 'tcp')];
    const mesh = await startMesh(
      [
        entry('a.example', '240.1.0.1', PORT, a.port),
        entry('b.example', '240.1.0.2', PORT, a.port),
        entry('t.example', '240.1.0.3', 9000, t.port, 'TCP'),
      ].join('---\n'),
    );
    try {
      const sidecar = await mesh.sidecar();
      mesh.goesTo = { ip: '240.1.0.3', port: 9000 };
      assert.equal(await talk(mesh, '', /tcp/), 'tcp');
      mesh.goesTo = { ip: '240.1.0.1', port: PORT };
      assert.equal((await get(mesh, 'a.example')).status, 200);
      assert.equal((await get(mesh, 'b.example')).status, 200);
      sidecar.sweep();
      assert.equal((await get(mesh, 'b.example')).status, 200);
      sidecar.sweep();
      await eventually('the cluster of a is gone', () => clusterNames(sidecar).join() === `outbound|${PORT}||b.example`);
      assert.deepEqual(hostNames(sidecar), [`b.example:${PORT}`]);
      assert.ok(![...sidecar.plane.listeners()].some((l) => l.name.startsWith('240.')));
      assert.equal((await get(mesh, 'a.example')).status, 200);
      mesh.goesTo = { ip: '240.1.0.3', port: 9000 };
      assert.equal(await talk(mesh, '', /tcp/), 'tcp');
    } finally {
      await mesh.close();
      a.server.close();
      t.server.close();
    }
  });

  test('a real Envoy asks for virtual hosts and clusters', { skip: ENVOY === undefined ? 'no Envoy is here' : false }, async () => {
    const [a, b, port] = [await startService('a'), await startService('b'), await freePort()];
    const services = [entry('a.example', '240.1.0.1', port, a.port), entry('b.example', '240.1.0.2', port, b.port)];
    const listening = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: shop}
spec:
  egress:
  - {port: {number: ${port}, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ["*/*"]}
`;
    const mesh = await startMesh([...services, listening].join('---\n'), { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } });
    const envoy = startEnvoy(mesh);
    try {
      const ask = async (host: string): Promise<string> => {
        const text = await talk({ ...mesh, outboundPort: port }, `GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`, /never/);
        return `${text.split(' ')[1]} ${text.slice(text.indexOf('\r\n\r\n') + 4)}`;
      };
      let first = '';
      for (const until = Date.now() + 20_000; Date.now() < until && !first.startsWith('200'); ) {
        first = await ask('a.example');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.equal(first, '200 a');
      assert.equal(await ask(`b.example:${port}`), '200 b');
      assert.equal((await ask('nobody.example')).slice(0, 3), '502');
      mesh.rig.save('rule.yaml', split('a.example', 'b.example', 100));
      await eventually('the change comes', () => mesh.rig.log.length >= 0);
      for (const until = Date.now() + 20_000; Date.now() < until && (await ask('a.example')) !== '200 b'; );
      assert.equal(await ask('a.example'), '200 b');
    } finally {
      envoy.kill('SIGKILL');
      await mesh.close();
      a.server.close();
      b.server.close();
    }
  });
});
