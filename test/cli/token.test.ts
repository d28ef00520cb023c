// `skein token` against a running control plane, and the flags of the control plane that say whose word it takes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { type DoorFlags, doorSettings, withDoorOptions } from '../../src/cli/door-flags.ts';
import { command } from '../../src/cli/token.ts';
import { ControlPlaneError } from '../../src/control/control-plane.ts';
import { type Rig, startRig } from '../control/rig.ts';

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command in this process: what it prints is caught. */
const run = async (rig: Rig, ...argv: string[]): Promise<Ran> => {
  const caught = { out: '', err: '' };
  const { stdout, stderr } = process;
  const [write, complain] = [stdout.write, stderr.write];
  const into = (stream: keyof typeof caught) => (text: string) => {
    caught[stream] += text;
    return true;
  };
  stdout.write = into('out') as typeof stdout.write;
  stderr.write = into('err') as typeof stderr.write;
  try {
    await command.run([...argv, '--state', rig.state]);
    return { ...caught, code: Number(process.exitCode ?? 0) };
  } finally {
    stdout.write = write;
    stderr.write = complain;
    process.exitCode = 0;
  }
};

test('tokens are created, listed without themselves, and revoked', async () => {
  const rig = await startRig({});
  try {
    assert.match((await run(rig, 'list')).out, /There are no tokens/);
    const join = await run(rig, 'create', '--service-account', 'shop/vm', '--uses', '3', '--expires', '2h');
    assert.match(join.out, /^skein_join_[0-9a-f]{12}_[\w-]{43}\n$/);
    const made = JSON.parse((await run(rig, 'create', '--role', 'read', '-o', 'json')).out) as Record<string, string>;
    assert.match(made['token'] ?? '', /^skein_admin_/);
    const list = await run(rig, 'list');
    assert.match(list.out, /join +shop\/vm +3 /);
    assert.match(list.out, /admin +read +- /);
    assert.ok(!list.out.includes(join.out.trim().slice(-43)));
    assert.equal((await run(rig, 'revoke', made['id'] ?? '')).out, `revoked ${made['id']}\n`);
    const again = await run(rig, 'revoke', made['id'] ?? '');
    assert.deepEqual([again.code, /there is no access token/.test(again.err)], [1, true]);
  } finally {
    await rig.close();
  }
});

test('wrong words are said to be so, and nothing is created', async () => {
  const rig = await startRig({});
  try {
    for (const argv of [
      ['create'],
      ['create', '--service-account', 'vm'],
      ['create', '--service-account', 'a/b', '--role', 'read'],
      ['create', '--role', 'root'],
      ['create', '--role', 'read', '--uses', '2'],
      ['create', '--service-account', 'a/b', '--uses', '0'],
      ['create', '--service-account', 'a/b', '--expires', 'soon'],
      ['revoke'],
      ['destroy'],
    ])
      assert.equal((await run(rig, ...argv)).code, 2, argv.join(' '));
    assert.equal((await run(rig, 'create', '--service-account', 'A_/b')).code, 1);
    assert.match((await run(rig, 'list')).out, /There are no tokens/);
  } finally {
    await rig.close();
  }
  const gone = await run(rig, 'list');
  assert.equal(gone.code, 3);
});

const settings = (...argv: string[]) => {
  const program = withDoorOptions(new Command());
  program.parse(argv, { from: 'user' });
  return doorSettings(program.opts<Record<string, unknown>>() as unknown as DoorFlags);
};

test('the control plane takes the word of an issuer or an API server where flags name one', () => {
  assert.deepEqual(settings(), { adminPorts: [], serverNames: [] });
  const { issuers, review } = settings('--token-issuer', 'https://i', '--token-review', 'https://api:6443', '--token-audience', 'a');
  assert.deepEqual(issuers, [{ issuer: 'https://i', audiences: ['a'], keysUrl: undefined }]);
  assert.deepEqual([review?.server, review?.audiences], ['https://api:6443', ['a']]);
  assert.deepEqual(settings('--token-issuer', 'https://i').issuers?.[0]?.audiences, ['istio-ca']);
  assert.throws(() => settings('--token-keys', 'https://i/keys'), ControlPlaneError);
  assert.throws(() => settings('--token-review', 'api:6443'), ControlPlaneError);
  assert.throws(() => settings('--token-review', 'https://api', '--token-review-ca', '/nowhere.pem'), ControlPlaneError);
});
