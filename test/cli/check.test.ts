// `skein check` and `skein ca` against a running control plane: what is said of remaining life, and the exit codes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CaDocument } from '../../src/cli/ca-document.ts';
import { caFindings } from '../../src/cli/check.ts';
import type { AuthoritySettings } from '../../src/control/ca/open-authority.ts';
import { type Rig, startRig } from '../control/rig.ts';

const DAY_MS = 86_400_000;

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command in this process: what it prints is caught. */
const run = async (rig: Rig, name: 'check' | 'ca' | 'status', ...argv: string[]): Promise<Ran> => {
  const { command } = (await import(`../../src/cli/${name}.ts`)) as { readonly command: { run(argv: readonly string[]): Promise<void> } };
  const caught = { out: '', err: '' };
  const { stdout, stderr } = process;
  const [write, complain] = [stdout.write, stderr.write];
  stdout.write = ((text: string) => {
    caught.out += text;
    return true;
  }) as typeof stdout.write;
  stderr.write = ((text: string) => {
    caught.err += text;
    return true;
  }) as typeof stderr.write;
  try {
    await command.run([...argv, '--state', rig.state]);
    return { ...caught, code: Number(process.exitCode ?? 0) };
  } finally {
    stdout.write = write;
    stderr.write = complain;
    process.exitCode = 0;
  }
};

const withLife = async (rootDays: number, more: Partial<AuthoritySettings>, body: (rig: Rig) => Promise<void>): Promise<void> => {
  const lives = { leafMs: 3_600_000, intermediateMs: 7_200_000, rootMs: rootDays * DAY_MS };
  const rig = await startRig({}, { authority: { lives, ...more } });
  try {
    await body(rig);
  } finally {
    await rig.close();
  }
};

test('a root with a long life is well', async () => {
  await withLife(365, { manualRotation: true }, async (rig) => {
    const { code, out } = await run(rig, 'check');
    assert.equal(code, 0, out);
    assert.match(out, /^ok +root +root [0-9a-f]{8} ends .*\(364d\)$/m);
  });
});

test('a root that ends within 30 days and is not replaced by itself is a warning with exit code 1', async () => {
  await withLife(29, { manualRotation: true }, async (rig) => {
    const { code, out } = await run(rig, 'check');
    assert.equal(code, 1);
    assert.match(out, /^warning +root +root [0-9a-f]{8} ends .*\(28d\): skein ca rotate$/m);
    const machine = await run(rig, 'check', '-o', 'json');
    assert.equal(machine.code, 1);
    const said = JSON.parse(machine.out) as { readonly well: boolean; readonly findings: readonly { readonly level: string }[] };
    assert.equal(said.well, false);
    assert.deepEqual(
      said.findings.map((f) => f.level),
      ['warning', 'ok', 'ok', 'ok'],
    );
    const metrics = await rig.admin('GET', '/metrics');
    const left = Number(/^citadel_server_root_cert_expiry_seconds (.*)$/m.exec(String(metrics.body))?.[1]);
    assert.ok(left > 28 * 86_400 && left < 29 * 86_400, `${left} s`);
    assert.match(String(metrics.body), /^citadel_server_cert_chain_expiry_timestamp \d+$/m);
  });
});

test('the steps of a rotation are taken, refused and told', async () => {
  await withLife(365, { manualRotation: true }, async (rig) => {
    assert.match((await run(rig, 'ca', 'status')).out, /next step prepare, possible now, by hand/);
    assert.match((await run(rig, 'ca', 'rotate')).out, /^prepared: /);
    const early = await run(rig, 'ca', 'rotate', '--step', 'switch');
    assert.equal(early.code, 1);
    assert.match(early.err, /switch would break connections before \d{4}-/);
    assert.match((await run(rig, 'ca', 'rotate', '--step', 'switch', '--force')).out, /^switched: /);
    assert.match((await run(rig, 'status')).out, /; rotation switched$/m);
    assert.equal((await run(rig, 'ca', 'revoke')).code, 2, 'it must be meant');
    assert.match((await run(rig, 'ca', 'revoke', '--now')).out, /^root [0-9a-f]{8} is revoked/);
    assert.equal((await run(rig, 'ca', 'revoke', '--now', '--root', 'nonsense')).code, 1);
    assert.match((await run(rig, 'ca', 'bundle')).out, /^-----BEGIN CERTIFICATE-----/);
    assert.equal((await run(rig, 'ca', 'sing')).code, 2);
  });
});

test('findings: what is about to end, and who is at work on it', () => {
  const now = '2026-01-01T00:00:00.000Z';
  const at = (days: number): string => new Date(Date.parse(now) + days * DAY_MS).toISOString();
  const ca = (more: Partial<CaDocument>): CaDocument => ({
    kind: 'folder',
    now,
    leafSeconds: 86_400,
    roots: [{ id: 'a', subject: 'CN=a', notBefore: at(-300), notAfter: at(300), signs: true }],
    federated: [],
    issued: 0,
    leavesByRoot: {},
    leaves: [],
    ...more,
  });
  const levels = (more: Partial<CaDocument>): string =>
    caFindings(ca(more))
      .map((f) => `${f.check}=${f.level}`)
      .join(' ');
  const ending = [{ id: 'a', subject: 'CN=a', notBefore: at(-300), notAfter: at(29), signs: true }];
  const automatic = { phase: 'steady', automatic: true, next: 'prepare', soundFrom: now, replaced: 0 };
  assert.equal(levels({}), 'root=ok leaves=ok');
  assert.equal(levels({ roots: ending }), 'root=warning leaves=ok');
  assert.equal(
    levels({ roots: ending, kind: 'own', rotation: automatic }),
    'root=warning leaves=ok',
    'it should have been replaced long ago',
  );
  assert.equal(levels({ roots: [{ id: 'a', subject: '', notBefore: at(-300), notAfter: at(-1), signs: true }] }), 'root=error leaves=ok');
  assert.equal(levels({ intermediate: { subject: '', notBefore: at(-9), notAfter: at(9) } }), 'root=ok intermediate=warning leaves=ok');
  assert.equal(
    levels({ kind: 'own', intermediate: { subject: '', notBefore: at(-9), notAfter: at(9) } }),
    'root=ok intermediate=ok leaves=ok',
  );
  assert.equal(levels({ federated: [{ subject: 'CN=east', notAfter: at(3) }] }), 'root=ok federated root=warning leaves=ok');
  const leaf = { holder: 'shop/cart-0', identity: '', root: 'a', issuedAt: at(-0.8), notAfter: at(0.2) };
  assert.equal(levels({ leaves: [leaf] }), 'root=ok leaves=warning');
});
