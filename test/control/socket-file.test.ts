// A path for a socket at which something else is: a file of somebody's that was named by mistake, or a link that was planted.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { serveGrpc } from '../../src/agent/grpc-server.ts';
import { SecretServer } from '../../src/agent/sds.ts';
import { startRig } from './rig.ts';

const inFolder = async (run: (folder: string, file: string, link: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-socket-'));
  const [file, link] = [join(folder, 'notes.txt'), join(folder, 'link')];
  writeFileSync(file, 'mine');
  symlinkSync(file, link);
  try {
    await run(folder, file, link);
    assert.equal(readFileSync(link, 'utf8'), 'mine');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

test('the control plane takes no file and no link for a socket that was left', () =>
  inFolder(async (_, file, link) => {
    for (const path of [file, link]) {
      await assert.rejects(startRig({}, { adminSocket: path }), /is there and is no socket/);
      await assert.rejects(startRig({}, { xds: [`unix:${path}`] }), /is there and is no socket/);
    }
  }));

test('nor does an agent', () =>
  inFolder(async (_, file, link) => {
    const secrets = () => new SecretServer({ onRejected: () => undefined, onFileProblem: () => undefined });
    for (const path of [file, link]) await assert.rejects(serveGrpc(path, secrets()), /is there and is no socket/);
  }));

test('a socket that a killed process left is replaced', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'admin.sock');
    const before = createServer();
    await new Promise<void>((resolve) => before.listen(path, () => resolve()));
    const rig = await startRig({}, { adminSocket: path });
    await rig.close();
    before.close();
  }));
