// A root's key in wrong hands (line 2 of the table): `skein ca revoke --now` ends what is open under it, TCP that talks all the time
// included, within five seconds of the command, and calls go on with what the mesh trusts then.
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Mesh, ROOT } from '../integration/mesh.ts';
import { eventually, expect } from '../integration/suite.ts';
import { toolPath } from '../interop/tools.ts';
import type { Checks } from './check.ts';

const PORT = 18_192;
const ENDED_MS_MAX = 5000;

export const checks: Checks = (context) => [
  {
    line: 2,
    name: 'skein ca revoke --now closes the live connections of that root within 5 s, busy TCP too; then calls go on',
    needs: ['namespaces'],
    proxy: 'skein',
    ownMesh: true,
    run: async () => {
      const mesh = new Mesh({ port: PORT, folder: join(ROOT, 'test/nodrop'), env: { PATH: toolPath() } });
      context.onEnd(() => mesh.remove());
      cpSync(join(ROOT, 'test/interop/peers'), join(mesh.dir, 'peers'), { recursive: true });
      writeFileSync(join(mesh.dir, 'mesh/rules.yaml'), STRICT);
      try {
        await mesh.up();
        return await revoked(mesh);
      } finally {
        mesh.remove();
      }
    },
  },
];

const revoked = async (mesh: Mesh): Promise<string> => {
  await eventually('HTTP is served', 15_000, async () => ((await served(mesh)) ? true : undefined));
  const talker = mesh.spawn('exec', 'client', '--', 'node', '-e', TALK);
  try {
    let said = '';
    talker.stdout?.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    await eventually('the connection talks', 20_000, async () => (said.includes('talks') ? true : undefined));
    const before = Date.now();
    await mesh.ok('ca', 'revoke', '--now');
    await eventually('the connection ends', ENDED_MS_MAX + 3000, async () => (said.includes('ended') ? true : undefined));
    const took = Number(/ended (\d+)/.exec(said)?.[1]) - before;
    expect(took <= ENDED_MS_MAX, `it ended ${took} ms after the command began`);
    await eventually('calls go on', 20_000, async () => ((await served(mesh)) ? true : undefined));
    return `busy TCP ended after ${took} ms`;
  } finally {
    talker.kill();
  }
};

const served = async (mesh: Mesh): Promise<boolean> =>
  (await mesh.exec('client', 'curl', '-sf', '--max-time', '2', 'http://server:8080/small')).code === 0;

/** Sends each tenth of a second, and says when that came to its end. */
const TALK = `
const socket = require('node:net').connect(9000, 'server');
socket.once('data', () => console.log('talks'));
socket.on('error', () => {});
const timer = setInterval(() => socket.write('x'), 100);
socket.on('close', () => { clearInterval(timer); console.log('ended ' + Date.now()); });
`;

const STRICT = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: nodrop}
spec: {mtls: {mode: STRICT}}
`;
