// The audit log: a chain in which every kind of tampering is found and named, over rotations, restarts and full disks; and what the control
// plane writes into it, which never holds a secret.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog } from '../../../src/base/log.ts';
import { AuditLog, type AuditLogOptions } from '../../../src/control/audit/audit-log.ts';
import { auditFiles, auditFolder, auditLines, verifyAudit } from '../../../src/control/audit/chain-files.ts';
import { diffObjects } from '../../../src/control/audit/object-diff.ts';
import { AuditTrail } from '../../../src/control/audit/trail.ts';
import { PIPELINE } from '../../../src/control/pipeline.ts';
import { createCertificate, eventually, startRig, XdsClient } from '../rig.ts';

const scratch = (): string => mkdtempSync(join(tmpdir(), 'skein-audit-'));
const silent = createLog(
  'test',
  () => undefined,
  () => new Date(0),
);

const open = (folder: string, options: Partial<AuditLogOptions> = {}): AuditLog =>
  new AuditLog({ folder, metrics: { count: () => undefined }, log: silent, now: () => 1_800_000_000_000, ...options });

const write = (folder: string, count: number, options: Partial<AuditLogOptions> = {}): void => {
  const log = open(folder, options);
  for (let i = 0; i < count; i++) {
    log.add(() => ({ type: 'change', name: `n${i}`, padding: 'x'.repeat(50) }));
    log.flush();
  }
  log.close();
};

const problems = (folder: string): readonly string[] => verifyAudit(folder).faults.map((f) => `${f.file}:${f.line} ${f.problem}`);

const rewrite = (folder: string, file: string, change: (lines: string[]) => readonly string[]): void => {
  const lines = [...auditLines(folder, file)];
  writeFileSync(
    join(folder, file),
    change(lines)
      .map((l) => `${l}\n`)
      .join(''),
  );
};

test('a chain that nobody touched is whole, and readable by its owner alone', () => {
  const folder = scratch();
  write(folder, 5);
  const verdict = verifyAudit(folder);
  assert.deepEqual([verdict.faults, verdict.entries, verdict.last.seq, verdict.behind], [[], 5, 5, 0]);
  for (const file of readdirSync(folder)) assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600, file);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  rmSync(folder, { recursive: true });
});

test('a line that was removed, changed or moved is found and named', () => {
  const cases: readonly (readonly [string, (lines: string[]) => readonly string[], RegExp])[] = [
    ['removed', (l) => l.filter((_, i) => i !== 2), /^audit\.log:3 entry 3 was removed before this line$/],
    ['two removed', (l) => l.filter((_, i) => i !== 2 && i !== 3), /^audit\.log:3 entries 3 to 4 were removed before this line$/],
    ['the first removed', (l) => l.slice(1), /^audit\.log:1 entry 1 was removed before this line$/],
    ['the last removed', (l) => l.slice(0, -1), /^audit\.log:0 entry 6 was removed from the end$/],
    ['changed', (l) => l.map((x, i) => (i === 2 ? x.replace('n2', 'm2') : x)), /^audit\.log:3 entry 3 was changed/],
    ['the last changed', (l) => l.map((x, i) => (i === 5 ? x.replace('n5', 'm5') : x)), /^audit\.log:6 entry 6 was changed/],
    ['moved', ([a = '', b = '', ...l]) => [b, a, ...l], /not in its place/],
    ['no entry', (l) => l.map((x, i) => (i === 2 ? 'nothing' : x)), /^audit\.log:3 is no entry$/],
    ['doubled', (l) => [...l.slice(0, 3), l[2] ?? '', ...l.slice(3)], /^audit\.log:4 entry 3 is not in its place/],
    ['emptied', () => [], /entries 1 to 6 were removed from the end$/],
  ];
  for (const [what, change, wanted] of cases) {
    const folder = scratch();
    write(folder, 6);
    rewrite(folder, 'audit.log', change);
    const found = problems(folder);
    assert.ok(
      found.some((p) => wanted.test(p)),
      `${what}: ${JSON.stringify(found)}`,
    );
    rmSync(folder, { recursive: true });
  }
});

test('what was removed stays missed after the writer has gone on', () => {
  const folder = scratch();
  write(folder, 4);
  rewrite(folder, 'audit.log', (l) => l.slice(0, -2));
  write(folder, 2);
  assert.ok(
    problems(folder).some((p) => /entries 3 to 4 were removed/.test(p)),
    JSON.stringify(problems(folder)),
  );
  assert.match(auditLines(folder, 'audit.log').join('\n'), /"type":"broken"/);
  rmSync(folder, { recursive: true });
});

test('the chain goes on over restarts, rotations and files that are dropped', () => {
  const folder = scratch();
  for (let run = 0; run < 4; run++) write(folder, 20, { fileBytesMax: 1500, filesMax: 3 });
  const verdict = verifyAudit(folder);
  assert.deepEqual(verdict.faults, []);
  assert.equal(verdict.last.seq, 80);
  assert.equal(auditFiles(folder).length, 3);
  assert.ok(verdict.first > 40 && verdict.entries === 80 - verdict.first + 1);
  const [oldest = ''] = auditFiles(folder);
  rmSync(join(folder, oldest));
  assert.ok(problems(folder).some((p) => /were removed before this line/.test(p)));
  rmSync(folder, { recursive: true });
});

test('a writer that was killed in a line, or before its head, goes on without a fault', () => {
  const folder = scratch();
  write(folder, 3);
  const head = readFileSync(join(folder, 'head.json'));
  write(folder, 2);
  writeFileSync(join(folder, 'head.json'), head);
  assert.equal(verifyAudit(folder).behind, 2);
  appendFileSync(join(folder, 'audit.log'), '{"seq":6,"ty');
  write(folder, 1);
  const verdict = verifyAudit(folder);
  assert.deepEqual([verdict.faults, verdict.last.seq, verdict.behind], [[], 6, 0]);
  rmSync(folder, { recursive: true });
});

test('a hash that was written down elsewhere finds a chain that was made anew', () => {
  const folder = scratch();
  write(folder, 3);
  const { last } = verifyAudit(folder);
  rmSync(folder, { recursive: true });
  const forged = scratch();
  const log = open(forged, { now: () => 1_800_000_000_001 });
  for (let i = 0; i < 4; i++) log.add(() => ({ type: 'change', name: 'forged' }));
  log.close();
  assert.deepEqual(verifyAudit(forged).faults, []);
  assert.match(verifyAudit(forged, new Map([[last.seq, last.hash]])).faults[0]?.problem ?? '', /has not the hash/);
  assert.match(verifyAudit(forged, new Map([[9, last.hash]])).faults[0]?.problem ?? '', /is not there/);
  rmSync(forged, { recursive: true });
});

test('a folder that cannot be written is counted and logged once, and stops nothing', () => {
  const root = scratch();
  writeFileSync(join(root, 'file'), '');
  const lines: string[] = [];
  let lost = 0;
  const log = open(join(root, 'file'), {
    metrics: { count: (name, _, by = 1) => (lost += name === 'skein_audit_entries_lost' ? by : 0) },
    log: createLog(
      'test',
      (line) => lines.push(line),
      () => new Date(0),
    ),
  });
  for (let i = 0; i < 5; i++) log.add(() => ({ type: 'change' }));
  log.flush();
  assert.equal(lost, 5);
  assert.equal(lines.length, 1, lines.join(''));
  log.close();
  rmSync(root, { recursive: true });
});

test('entries that could not be written are told by the next that can', () => {
  const folder = scratch();
  const log = open(folder);
  log.add(() => {
    throw new Error('no room');
  });
  log.flush();
  log.add(() => ({ type: 'change' }));
  log.close();
  assert.match(auditLines(folder, 'audit.log').join('\n'), /"type":"lost","count":1/);
  assert.deepEqual(verifyAudit(folder).faults, []);
  rmSync(folder, { recursive: true });
});

test('a difference names fields, and hides what is or may be a secret', () => {
  assert.deepEqual(diffObjects('VirtualService', { spec: { a: 1, gone: true } }, { spec: { a: 2, list: ['x'] } }).diff, [
    { path: 'spec.a', before: '1', after: '2' },
    { path: 'spec.gone', before: 'true' },
    { path: 'spec.list[0]', after: '"x"' },
  ]);
  const jwk = '{"keys":[{"kty":"RSA","d":"PRIVATE-MEMBER-0123456789"}]}';
  const hidden: readonly (readonly [string, unknown])[] = [
    ['Secret', { spec: { data: { 'tls.key': 'U0VDUkVU' }, type: 'U0VDUkVU' } }],
    ['RequestAuthentication', { spec: { jwtRules: [{ jwks: jwk }] } }],
    ['EnvoyFilter', { spec: { value: { any: jwk, inline_string: 'U0VDUkVU' } } }],
    ['Workload', { spec: { env: { ANY: 'U0VDUkVU' } } }],
    ['VirtualService', { spec: { http: [{ headers: { request: { set: { authorization: 'U0VDUkVU', 'x-api-key': 'U0VDUkVU' } } } }] } }],
    ['AuthorizationPolicy', { spec: { rules: [{ when: [{ key: 'request.headers[x-token]', values: ['U0VDUkVU'] }] }] } }],
    ['ServiceEntry', { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'U0VDUkVU' } }],
    ['EnvoyFilter', { spec: { uri: 'http://user:U0VDUkVU@host', pem: '-----BEGIN EC PRIVATE KEY-----U0VDUkVU' } }],
  ];
  for (const [kind, object] of hidden) {
    const said = JSON.stringify(diffObjects(kind, undefined, object).diff);
    assert.ok(!/U0VDUkVU|PRIVATE-MEMBER/.test(said), said);
    assert.match(said, /not shown/);
  }
});

const POLICY = (method: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: default }
spec: { rules: [{ to: [{ operation: { methods: [${method}] } }] }] }
`;
const KEY = `apiVersion: v1
kind: Secret
metadata: { name: k, namespace: default }
stringData: { password: hunter2hunter2 }
`;

interface Entry {
  readonly seq: number;
  readonly type: string;
  readonly [field: string]: unknown;
}

test('the control plane tells who changed what from where, and whom it refused', async () => {
  const rig = await startRig({ 'a.yaml': POLICY('GET') }, { pipeline: PIPELINE });
  try {
    const entries = async (query = ''): Promise<readonly Entry[]> =>
      ((await rig.admin('GET', `/v1/audit?limit=1000${query}`)).body as { entries: Entry[] }).entries;
    assert.deepEqual(
      (await entries()).map((e) => e.type),
      ['start', 'loaded'],
    );
    rig.save('a.yaml', POLICY('POST'));
    await eventually('the change of the file', () => auditLines(auditFolder(rig.state), 'audit.log').some((l) => l.includes('"updated"')));
    const [changed] = await entries('&type=change');
    assert.deepEqual(changed?.['by'], { via: 'file' });
    assert.deepEqual([changed?.['kind'], changed?.['name'], changed?.['line']], ['AuthorizationPolicy', 'p', 1]);
    assert.deepEqual(changed?.['diff'], [{ path: 'spec.rules[0].to[0].operation.methods[0]', before: '"GET"', after: '"POST"' }]);

    const second = POLICY('PUT').replace('name: p', 'name: q');
    await rig.admin('POST', '/v1/apply', { documents: [{ file: 'q.yaml', text: `${second}---\n${KEY}` }] });
    await rig.admin('POST', '/v1/apply', { documents: [{ file: 'q.yaml', text: second }] });
    const { resources } = (await rig.admin('GET', '/v1/resources?name=q')).body as { resources: { origin: { source: string } }[] };
    assert.equal(resources[0]?.origin.source, 'applied');
    await rig.admin('DELETE', '/v1/resources/AuthorizationPolicy/default/q');
    const applied = (await entries('&type=change')).slice(1);
    assert.deepEqual(
      applied.map((e) => [e['action'], e['kind'], e['file']]),
      [
        ['created', 'AuthorizationPolicy', 'q.yaml'],
        ['created', 'Secret', 'q.yaml'],
        ['deleted', 'AuthorizationPolicy', 'q.yaml'],
      ],
    );
    for (const e of applied) assert.deepEqual(e['by'], { via: 'admin API', who: 'local user', role: 'write' });

    await rig.admin('POST', '/v1/apply', { documents: [{ file: 'bad.yaml', text: 'kind: Nothing hunter2hunter2' }] });
    await rig.admin('DELETE', '/v1/resources/AuthorizationPolicy/default/p');
    const refused = await entries('&type=denial');
    assert.deepEqual(
      refused.map((e) => [e['door'], e['code']]),
      [
        ['admin', 'REFUSED'],
        ['admin', 'OWNED_BY_FILE'],
      ],
    );
    const { faults } = (await rig.admin('GET', '/v1/audit/verify')).body as { faults: unknown[] };
    assert.deepEqual(faults, []);
    const text = auditFiles(auditFolder(rig.state))
      .map((f) => readFileSync(join(auditFolder(rig.state), f), 'utf8'))
      .join('');
    assert.ok(!text.includes('hunter2'), 'no secret');
  } finally {
    await rig.close();
  }
});

test('callers without a proof, and certificate requests that are refused, are told', async () => {
  const rig = await startRig({}, { pipeline: PIPELINE });
  try {
    const socket = `unix:${join(rig.root, 'x.sock')}`;
    for (const options of [{}, { token: 'not-a-token' }]) {
      const client = new XdsClient(socket, options);
      client.subscribe('CDS');
      await eventually('the refusal', () => client.status !== undefined);
      client.close();
    }
    await assert.rejects(createCertificate(socket, await rig.token('w'), 'no request'));
    const { entries } = (await rig.admin('GET', '/v1/audit?type=denial')).body as { entries: Entry[] };
    assert.deepEqual(
      entries.map((e) => e['door']),
      ['xds', 'xds', 'ca'],
    );
    assert.ok(!JSON.stringify(entries).includes('not-a-token'));
  } finally {
    await rig.close();
  }
});

test('a flood of refusals does not push changes out', () => {
  const folder = scratch();
  const log = open(folder);
  let now = 1_800_000_000_000;
  const trail = new AuditTrail(log, () => now);
  for (let i = 0; i < 5000; i++) trail.refused({ door: 'xds', who: 'peer', reason: 'wrong' });
  now += 1000;
  trail.refused({ door: 'xds', who: 'peer', reason: 'wrong' });
  log.close();
  const lines = auditLines(folder, 'audit.log');
  assert.ok(lines.length < 250, String(lines.length));
  assert.match(lines.at(-1) ?? '', /"suppressed":4800/);
  rmSync(folder, { recursive: true });
});
