// The mesh's own authority: its rotation by itself under a virtual clock, its state across restarts and crashes, trust in other trust
// domains, and a signer elsewhere.
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificatesIn, checkIssued, rootOf } from '../../../src/agent/certificate.ts';
import { certificateRequest } from '../../../src/agent/csr.ts';
import { defaultMeshConfig, type MeshConfig } from '../../../src/api/mesh-config/mesh-config.ts';
import { createLog } from '../../../src/base/log.ts';
import type { CertificateAuthority } from '../../../src/control/ca/ca.ts';
import { makeRoot } from '../../../src/control/ca/issue.ts';
import { type OpenAuthorityOptions, openAuthority } from '../../../src/control/ca/open-authority.ts';
import { anchorOf } from '../../../src/identity/anchor-scope.ts';
import { SpiffeBundles } from '../../../src/proxy/transport/spiffe-bundles.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const ID = 'spiffe://cluster.local/ns/production/sa/payment';
const CALLER = { trustDomain: 'cluster.local', namespace: 'production', serviceAccount: 'payment' };
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const CSR = certificateRequest(privateKey, ID);

const inFolder = async (run: (folder: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-authority-'));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const open = (stateDir: string, more: Partial<OpenAuthorityOptions> = {}, log: string[] = []): Promise<CertificateAuthority> =>
  openAuthority({
    stateDir,
    caDir: undefined,
    meshConfig: defaultMeshConfig,
    now: Date.now,
    log: createLog(
      'ca',
      (line) => log.push(line),
      () => new Date(),
    ),
    changed: () => undefined,
    ...more,
  });

const signed = async (ca: CertificateAuthority, lifeMs = 0): Promise<readonly string[]> => {
  const answer = await ca.sign(CSR, CALLER, lifeMs, 'production/payment-0');
  assert.ok(answer.ok, JSON.stringify(answer));
  return answer.value;
};

test('replaces its roots by itself, each step on disk, however often the process starts', async () => {
  await inFolder(async (folder) => {
    let nowMs = Date.now();
    const lives = { leafMs: DAY, intermediateMs: 7 * DAY, rootMs: 60 * DAY };
    const endMs = nowMs + 120 * DAY;
    const seen = new Set<string>();
    let replaced = 0;
    for (; nowMs < endMs; nowMs += 12 * HOUR) {
      // Every start looks at the clock first: as if the process was started twice a day.
      const ca = await open(folder, { now: () => nowMs, lives });
      const [leaf, intermediate, roots = ''] = await signed(ca);
      assert.ok(rootOf(`${leaf}${intermediate}`, ca.roots) !== undefined, 'what is issued is trusted');
      assert.equal(roots, ca.anchors.join(''));
      const leafEnd = Date.parse(new X509Certificate(leaf ?? '').validTo);
      assert.ok(leafEnd - nowMs > DAY - 2000, 'no leaf is shortened by its issuer');
      const { rotation, roots: about } = ca.authority.about();
      assert.ok(about.every((r) => Date.parse(r.notAfter) > nowMs));
      seen.add(rotation?.phase ?? '');
      replaced = rotation?.replaced ?? 0;
      assert.equal(readdirSync(join(folder, 'ca')).filter((name) => name.endsWith('-key.pem')).length, about.length, 'a key for each root');
      ca.authority.close();
    }
    assert.deepEqual([...seen].sort(), ['prepared', 'steady', 'switched']);
    assert.equal(replaced, 2);
  });
});

test('a crash before a step is on disk leaves the state before it', async () => {
  await inFolder(async (folder) => {
    const first = await open(folder);
    const before = first.roots;
    first.authority.close();
    const stray = await makeRoot('deadbeef', 'cluster.local', Date.now(), DAY);
    writeFileSync(join(folder, 'ca', 'root-deadbeef.pem'), stray.pem);
    writeFileSync(join(folder, 'ca', 'root-deadbeef-key.pem'), 'half a key');
    const again = await open(folder);
    assert.deepEqual(again.roots, before);
    assert.ok(!readdirSync(join(folder, 'ca')).some((name) => name.includes('deadbeef')), 'what no step has named is swept away');
    again.authority.close();
    writeFileSync(join(folder, 'ca', 'authority.json'), '{}');
    await assert.rejects(open(folder), /authority\.json cannot be read/);
  });
});

test('roots of other trust domains are handed out with the own ones, and sign nothing', async () => {
  await inFolder(async (folder) => {
    const [inline, file] = [
      await makeRoot('00000001', 'east.example', Date.now(), DAY),
      await makeRoot('00000002', 'west.example', Date.now(), DAY),
    ];
    writeFileSync(join(folder, 'west.pem'), file.pem);
    const meshConfig = () => ({ ...defaultMeshConfig(), caCertificates: [{ pem: inline.pem }] });
    const ca = await open(folder, { meshConfig, bundleFiles: [join(folder, 'west.pem')] });
    assert.equal(ca.roots.length, 1);
    assert.deepEqual(ca.anchors, [...ca.roots, file.pem, inline.pem]);
    assert.equal(ca.anchors, ca.anchors, 'the same object until it changes');
    assert.equal((await signed(ca)).at(-1), ca.anchors.join(''));
    ca.authority.close();
    await assert.rejects(open(folder, { bundleFiles: [join(folder, 'none.pem')] }), /cannot read .*none\.pem/);
  });
});

test('a root for one trust domain says so on its way to the agents, and the own ones say whose they are', async () => {
  await inFolder(async (folder) => {
    const [named, every, file] = await Promise.all(['1', '2', '3'].map((n) => makeRoot(`0000000${n}`, 'other.example', Date.now(), DAY)));
    assert.ok(named && every && file);
    writeFileSync(join(folder, 'west.pem'), file.pem);
    let caCertificates: NonNullable<MeshConfig['caCertificates']> = [
      { pem: named.pem, trustDomains: ['east.example'] },
      { pem: every.pem },
    ];
    const meshConfig = () => ({ ...defaultMeshConfig(), trustDomainAliases: ['old.local'], caCertificates });
    const ca = await open(folder, { meshConfig });
    const scopes = () => ca.anchors.map((text) => anchorOf(text).trustDomains);
    assert.deepEqual(scopes(), [['cluster.local', 'old.local'], ['east.example'], undefined]);
    assert.equal(ca.anchors, ca.anchors, 'the same object until it changes');
    const answer = (await signed(ca)).at(-1) ?? '';
    assert.deepEqual(
      certificatesIn(answer).map((text) => anchorOf(text).trustDomains),
      scopes(),
      'agents read the same',
    );
    const issued = checkIssued(await signed(ca), privateKey, ID, Date.now());
    assert.ok(issued.ok);
    const { chainPem, rootsPem } = issued.value;
    assert.deepEqual(
      certificatesIn(rootsPem).map((text) => anchorOf(text).trustDomains),
      scopes(),
    );
    const chain = certificatesIn(chainPem).map((pem) => new X509Certificate(pem).raw);
    const own = new SpiffeBundles(new Map([['cluster.local', ca.roots.join('')]]));
    assert.deepEqual(
      [chain.length, own.faultOf(chain, { uri: [ID], dns: [], email: [] })],
      [2, undefined],
      'what we issue is an SVID to a SPIFFE validator',
    );
    for (const text of ca.anchors) assert.equal(new X509Certificate(text).ca, true, 'a comment for every reader of PEM');
    caCertificates = [
      { pem: named.pem, trustDomains: ['east.example'] },
      { pem: named.pem, trustDomains: ['far.example'] },
    ];
    assert.deepEqual(scopes().slice(1), [['east.example', 'far.example']]);
    caCertificates = [{ pem: named.pem }];
    assert.deepEqual(scopes(), [undefined, undefined], 'nothing is bound: as before');
    ca.authority.close();
    const fromFile = await open(folder, { bundleFiles: [`west.example=${join(folder, 'west.pem')}`] });
    assert.deepEqual(
      fromFile.anchors.map((text) => anchorOf(text).trustDomains),
      [['cluster.local'], ['west.example']],
    );
    fromFile.authority.close();
    await assert.rejects(open(folder, { bundleFiles: [`west.example=${join(folder, 'none.pem')}`] }), /cannot read .*none\.pem/);
  });
});

test('a signer elsewhere signs by request, and is not believed blindly', async () => {
  await inFolder(async (folder) => {
    // An authority of its own stands for the signer: what it prints is what the command prints.
    const other = await open(join(folder, 'other'));
    const chain = await signed(other, HOUR);
    const said = join(folder, 'answer.pem');
    const rootsFile = join(folder, 'roots.pem');
    writeFileSync(rootsFile, other.roots.join(''));
    const log: string[] = [];
    const command = `cat > ${folder}/request; echo "$SKEIN_SPIFFE_ID $SKEIN_TTL_SECONDS" > ${folder}/wanted; cat ${said}`;
    const ca = await open(folder, { signer: { command, rootsFile } }, log);
    const answer = (text: string): Promise<{ readonly ok: boolean }> => {
      writeFileSync(said, text);
      return ca.sign(CSR, CALLER, HOUR);
    };
    assert.ok((await answer(chain.join(''))).ok);
    assert.deepEqual((await signed(ca, HOUR)).slice(0, 2), chain.slice(0, 2));
    assert.ok(!(await answer('')).ok);
    assert.ok(!(await answer(chain.slice(1).join(''))).ok, 'an authority is no leaf');
    assert.ok(!(await answer(chain[0] ?? '')).ok, 'the intermediate is missing');
    const foreign = await other.sign(
      certificateRequest(privateKey, 'spiffe://cluster.local/ns/a/sa/b'),
      { ...CALLER, namespace: 'a', serviceAccount: 'b' },
      HOUR,
    );
    assert.ok(foreign.ok);
    assert.ok(!(await answer(foreign.value.join(''))).ok, 'another identity');
    const longer = await signed(other, DAY);
    assert.ok(!(await answer(longer.join(''))).ok, 'a longer life than was asked for');
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const stranger = await other.sign(certificateRequest(key, ID), CALLER, HOUR);
    assert.ok(stranger.ok);
    assert.ok(!(await answer(stranger.value.join(''))).ok, 'another key');
    const failing = await open(folder, { signer: { command: 'echo no quota >&2; exit 7', rootsFile } }, log);
    const refused = await failing.sign(CSR, CALLER, HOUR);
    assert.ok(!refused.ok && refused.error.kind === 'unavailable' && !/quota/.test(refused.error.message));
    assert.match(log.join(''), /exit code 7: no quota/);
    assert.match(log.join(''), /it is for URI:spiffe:\/\/cluster.local\/ns\/a\/sa\/b/);
    other.authority.close();
  });
});
