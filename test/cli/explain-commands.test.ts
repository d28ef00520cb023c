// `skein authz check`, `skein explain` and `skein audit` as processes: exit codes, words and data, with and without a control plane.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { PIPELINE } from '../../src/control/pipeline.ts';
import { ACCESS_LOG_METHOD } from '../../src/control/telemetry/receivers.ts';
import { type CertificateFacts, StreamInfo, type TlsFacts } from '../../src/plan/stream-info.ts';
import { RefusedConnections } from '../../src/proxy/telemetry/refused-connections.ts';
import { requestsIdentifier } from '../../src/proxy/telemetry/request-choice.ts';
import { type Rig, startRig } from '../control/rig.ts';

const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;

interface Done {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The control plane of a test runs in this process: nothing may wait in it. */
const skein = (...args: readonly string[]): Promise<Done> =>
  new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { encoding: 'utf8', timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out, err }),
    );
  });

const MESH = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec: { selector: { app: pay }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: pay, namespace: shop, labels: { app: pay } }
spec: { serviceAccount: pay, command: [run], ports: [{ name: http, port: 8080 }] }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { serviceAccount: web, command: [run], ports: [{ name: http, port: 8080 }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec:
  rules:
    - to: [{ operation: { methods: [GET] } }]
`;

test('files are asked without a control plane, and the exit code says what comes of it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-authz-'));
  try {
    writeFileSync(join(dir, 'mesh.yaml'), MESH);
    const check = (...args: readonly string[]): Promise<Done> =>
      skein('authz', 'check', '-f', dir, '--from', 'web', '--to', 'pay', ...args);
    assert.equal((await check()).code, 0);
    const denied = await check('-X', 'PUT');
    assert.equal(denied.code, 1, denied.err);
    assert.match(denied.out, /^DENIED: no ALLOW rule matches/);
    assert.match(denied.out, /nearest {5}ALLOW AuthorizationPolicy shop\/readers spec\.rules\[0\] {2}.*mesh\.yaml:25/);
    assert.match(denied.out, /missed {4}line 25: to\[0\]\.operation\.methods is GET; the request has PUT/);
    const json = JSON.parse((await check('-X', 'PUT', '-o', 'json')).out) as { verdict: string; decidedBy: { line: number } };
    assert.deepEqual([json.verdict, json.decidedBy.line], ['denied', 25]);
    assert.equal((await skein('authz', 'check', '-f', dir)).code, 2);
    assert.equal((await check('--claims', '{')).code, 2);
    const unknown = await skein('authz', 'check', '-f', dir, '--to', 'nowhere');
    assert.deepEqual([unknown.code, /no service "nowhere"/.test(unknown.err)], [1, true]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const entry = (fields: Readonly<Record<string, unknown>>): string =>
  `${JSON.stringify({ start_time: '2027-01-15T08:00:00.000Z', method: 'PUT', path: '/x', response_code: 403, response_flags: '-', request_id: 'id-1', authority: 'pay', ...fields })}\n`;

test('a request is found in the logs of all proxies, and the one that decided is explained', async () => {
  const rig = await startRig({ 'mesh.yaml': MESH }, { pipeline: PIPELINE });
  try {
    for (const [name, address] of [
      ['pay', '10.0.0.1'],
      ['web', '10.0.0.2'],
    ]) {
      const body = { name: `${name}-0`, namespace: 'shop', workload: name, address, labels: { app: name }, serviceAccount: name };
      const { status } = await rig.admin('PUT', `/v1/instances/shop/${name}-0`, {
        ...body,
        ports: [{ name: 'http', port: 8080 }],
        ready: true,
        meshed: true,
      });
      assert.equal(status, 200);
    }
    mkdirSync(join(rig.state, 'logs'));
    writeFileSync(
      join(rig.state, 'logs', 'web-0.shop.proxy.log'),
      `not JSON id-1\n${entry({ response_code_details: 'via_upstream', upstream_cluster: 'outbound|80||pay.shop.svc.cluster.local' })}`,
    );
    writeFileSync(
      join(rig.state, 'logs', 'pay-0.shop.proxy.log'),
      entry({
        start_time: '2027-01-15T08:00:00.001Z',
        response_code_details: 'rbac_access_denied_matched_policy[none]',
        upstream_cluster: 'inbound|8080||',
        downstream_local_address: '10.0.0.1:8080',
        downstream_remote_address: '10.0.0.2:40000',
        requested_server_name: 'outbound_.80_._.pay.shop.svc.cluster.local',
      }),
    );
    const told = await skein('explain', 'id-1', '--state', rig.state);
    assert.equal(told.code, 0, told.err);
    assert.match(told.out, /web-0\.shop \(outbound\) {2}403 {2}via_upstream/);
    assert.match(told.out, /pay-0\.shop: no ALLOW rule matches/);
    assert.match(told.out, /nearest {5}ALLOW AuthorizationPolicy shop\/readers spec\.rules\[0\] {2}.*mesh\.yaml:25/);
    const json = JSON.parse((await skein('explain', 'id-1', '-o', 'json', '--state', rig.state)).out) as {
      entries: unknown[];
      decisive: { explanation: { decidedBy: { line: number } } };
    };
    assert.deepEqual([json.entries.length, json.decisive.explanation.decidedBy.line], [2, 25]);
    const failed = await skein('explain', '--failed', '--state', rig.state);
    assert.match(failed.out, /pay-0\.shop .*rbac_access_denied/);
    assert.doesNotMatch(failed.out, /web-0/);
    assert.equal((await skein('explain', 'id-2', '--state', rig.state)).code, 1);
    const live = await skein('authz', 'check', '--from', 'web', '--to', 'pay', '-X', 'PUT', '--state', rig.state);
    assert.equal(live.code, 1, live.err);
    assert.match(live.out, /readers/);
  } finally {
    await rig.close();
  }
});

const TCP_MESH = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Service
metadata: { name: ledger, namespace: shop }
spec: { selector: { app: ledger }, ports: [{ name: tcp, port: 9000 }] }
---
apiVersion: skein.dev/v1
kind: Workload
metadata: { name: ledger, namespace: shop, labels: { app: ledger } }
spec: { serviceAccount: ledger, command: [run], ports: [{ name: tcp, port: 9000 }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: keepers, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/keeper"] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-web, namespace: shop }
spec:
  action: DENY
  rules:
    - from: [{ source: { namespaces: [elsewhere] } }]
    - from: [{ source: { principals: ["cluster.local/ns/shop/sa/web"] } }]
`;

test('a refused connection is found by its address, in access logs and in what sidecars told, and explained by its identity', async () => {
  const rig = await startRig({ 'mesh.yaml': TCP_MESH }, { pipeline: PIPELINE });
  try {
    const body = { name: 'ledger-0', namespace: 'shop', workload: 'ledger', address: '10.0.0.1', labels: { app: 'ledger' } };
    const more = { serviceAccount: 'ledger', ports: [{ name: 'tcp', port: 9000 }], ready: true, meshed: true };
    assert.equal((await rig.admin('PUT', '/v1/instances/shop/ledger-0', { ...body, ...more })).status, 200);
    const refused = new RefusedConnections();
    const told = (remote: string, account: string, details: string): void => {
      const info = new StreamInfo();
      info.startTime = info.endTime = Date.UTC(2027, 0, 15);
      info.downstreamDirectRemoteAddress = remote;
      info.downstreamLocalAddress = '10.0.0.1:9000';
      info.connectionTerminationDetails = details;
      info.downstreamTls = { ...TLS, peer: { ...CERTIFICATE, uriSans: [`spiffe://cluster.local/ns/shop/sa/${account}`] } };
      refused.offer(info);
    };
    const byRule = 'rbac_access_denied_matched_policy[ns[shop]-policy[no-web]-rule[1]]';
    told('10.0.0.2:40000', 'web', byRule);
    told('10.0.0.3:40000', 'guest', 'rbac_access_denied_matched_policy[none]');
    told('10.0.0.4:40000', 'guest', 'local_origin_timeout');
    const token = await rig.token('ledger-0', { namespace: 'shop', serviceAccount: 'ledger' });
    const id = 'sidecar~10.0.0.1~ledger-0.shop~shop.svc.cluster.local';
    const sent = [requestsIdentifier({ id, metadata: { WORKLOAD_NAME: 'ledger', SKEIN_SUMMARIES: 'true' } }), refused.report()];
    await streamLogs(rig.controlPlane.xds[0] ?? '', token, sent);
    await toldOf(rig, 2);
    mkdirSync(join(rig.state, 'logs'));
    writeFileSync(
      join(rig.state, 'logs', 'ledger-0.shop.proxy.log'),
      entry({
        method: null,
        path: null,
        authority: null,
        request_id: null,
        response_code: 0,
        upstream_cluster: 'inbound|9000||',
        connection_termination_details: 'rbac_access_denied_matched_policy[none]',
        downstream_local_address: '10.0.0.1:9000',
        downstream_remote_address: '10.0.0.9:40000',
      }),
    );
    const web = await skein('explain', '--connection', '10.0.0.2:40000', '--state', rig.state);
    assert.equal(web.code, 0, web.err);
    assert.match(web.out, /10\.0\.0\.2:40000 to 10\.0\.0\.1:9000 {2}as spiffe:.*\/sa\/web\nledger-0\.shop: a DENY rule matched/);
    assert.match(web.out, /decided by {2}DENY AuthorizationPolicy shop\/no-web spec\.rules\[1\] {2}.*mesh\.yaml:29/);
    const guest = await skein('explain', '--connection', '10.0.0.3', '--state', rig.state);
    assert.match(guest.out, /nearest {5}ALLOW AuthorizationPolicy shop\/keepers spec\.rules\[0\] {2}.*mesh\.yaml:20/);
    assert.match(guest.out, /the request has .*sa\/guest/);
    const logged = JSON.parse((await skein('explain', '--connection', '10.0.0.9:40000', '-o', 'json', '--state', rig.state)).out) as {
      entries: { explanation: { nearest: { rule: { line: number } } } }[];
    };
    assert.deepEqual(
      logged.entries.map((e) => e.explanation.nearest.rule.line),
      [20],
    );
    assert.match((await skein('explain', '--failed', '--state', rig.state)).out, /connection .* 10\.0\.0\.9:40000/);
    const nobody = await skein('explain', '--connection', '10.0.0.2:4', '--state', rig.state);
    assert.deepEqual([nobody.code, /no proxy has told of a refused connection/.test(nobody.err)], [1, true]);
    assert.equal((await skein('explain', 'id', '--connection', '10.0.0.2', '--state', rig.state)).code, 2);
    const audit = JSON.parse((await skein('audit', 'show', '--type', 'denial', '-o', 'json', '--state', rig.state)).out) as Record<
      string,
      unknown
    >[];
    const { policy, rule, line, connection } = audit.find((e) => e['connection'] === '10.0.0.2:40000') ?? {};
    assert.deepEqual([policy, rule, line, connection], ['shop/no-web', 1, 29, '10.0.0.2:40000']);
  } finally {
    await rig.close();
  }
});

const CERTIFICATE: CertificateFacts = {
  subject: '',
  issuer: '',
  uriSans: [],
  dnsSans: [],
  ipSans: [],
  emailSans: [],
  serial: '',
  sha256Fingerprint: '',
  sha1Fingerprint: '',
  pem: '',
  notBefore: 0,
  notAfter: 0,
};
const TLS: TlsFacts = { version: 'TLSv1.3', cipher: '', sessionId: '', peer: CERTIFICATE, local: undefined, validated: true };

const raw = (bytes: Buffer): Buffer => bytes;

/** As a sidecar does; resolves when the control plane has read all of it. */
const streamLogs = (address: string, token: string, messages: readonly (Uint8Array | undefined)[]): Promise<void> =>
  new Promise((resolve, reject) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    const client = new Client(address, credentials.createInsecure());
    const call = client.makeBidiStreamRequest(ACCESS_LOG_METHOD, raw, raw, metadata);
    call.on('data', () => undefined);
    call.on('error', reject);
    call.on('end', () => {
      client.close();
      resolve();
    });
    for (const bytes of messages) call.write(Buffer.from(bytes ?? []));
    call.end();
  });

const toldOf = async (rig: Rig, count: number): Promise<void> => {
  let found = 0;
  while (found < count) found = ((await rig.admin('GET', '/v1/telemetry/refused-connections')).body as unknown[]).length;
  assert.equal(found, count);
};

test('a flag is explained without a mesh', async () => {
  assert.match((await skein('explain', 'uf')).out, /^UF \(UpstreamConnectionFailure\): /);
  const all = JSON.parse((await skein('explain', '-o', 'json')).out) as unknown[];
  assert.ok(all.length >= 30);
});

test('the audit log is shown and verified from its files', async () => {
  const rig = await startRig({ 'mesh.yaml': MESH }, { pipeline: PIPELINE });
  const folder = join(rig.state, 'audit');
  try {
    const text = MESH.slice(MESH.indexOf('apiVersion: security')).replace('name: readers', 'name: more');
    assert.equal((await rig.admin('POST', '/v1/apply', { documents: [{ file: 'more.yaml', text }] })).status, 200);
    await rig.admin('GET', '/v1/audit');
    const shown = await skein('audit', 'show', '--kind', 'AuthorizationPolicy', '--diff', '--state', rig.state);
    assert.match(shown.out, /change {2}local user {2}created AuthorizationPolicy shop\/more .*more\.yaml:1\n {4}spec\.rules/);
    const whole = await skein('audit', 'verify', '--state', rig.state);
    assert.equal(whole.code, 0, whole.out + whole.err);
    const noted = /to write down: (\S+)/.exec(whole.out)?.[1] ?? '';
    assert.equal((await skein('audit', 'verify', '--expect', noted, '--state', rig.state)).code, 0);
    const lines = readFileSync(join(folder, 'audit.log'), 'utf8').split('\n');
    writeFileSync(join(folder, 'audit.log'), lines.filter((_, i) => i !== 1).join('\n'));
    const cut = await skein('audit', 'verify', '--state', rig.state);
    assert.deepEqual([cut.code, /audit\.log:2: entry 2 was removed/.test(cut.out)], [1, true], cut.out);
    assert.equal((await skein('audit', 'verify', '--dir', join(rig.root, 'nothing'))).code, 1);
    assert.equal((await skein('audit', 'what')).code, 2);
  } finally {
    await rig.close();
  }
});
