// Who may get at the state folder, however it was made.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ControlPlaneError } from '../../src/control/control-plane.ts';
import { startRig } from './rig.ts';

const made = (mode: number, ...files: readonly string[]) => {
  const root = mkdtempSync(join(tmpdir(), 'skein-state-'));
  const state = join(root, 'state');
  mkdirSync(state);
  for (const file of files) writeFileSync(join(state, file), '');
  chmodSync(state, mode);
  return { root, mode: () => statSync(state).mode & 0o7777 };
};

test('a state folder that is open to others is closed before a key or a socket lies in it', async () => {
  for (const [mode, files] of [
    [0o777, []],
    [0o755, []],
    [0o770, ['generation']],
  ] as const) {
    const folder = made(mode, ...files);
    const rig = await startRig({}, {}, folder.root);
    try {
      assert.equal(folder.mode(), 0o700, `${mode.toString(8)} with ${files.length} files`);
      assert.match(rig.log.join(''), /the state folder was open to others/);
    } finally {
      await rig.close();
    }
  }
});

test('a folder that others share, or that holds other things for others to write, is no state folder and stays as it is', async () => {
  for (const [mode, files] of [
    [0o1777, []],
    [0o1777, ['generation']],
    [0o777, ['notes.txt']],
  ] as const) {
    const folder = made(mode, ...files);
    try {
      await assert.rejects(startRig({}, {}, folder.root), (e) => e instanceof ControlPlaneError && /others may write in/.test(e.message));
      assert.equal(folder.mode(), mode);
    } finally {
      rmSync(folder.root, { recursive: true });
    }
  }
});
