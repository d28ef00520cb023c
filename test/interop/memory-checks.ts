// What hostile connections leave behind once they are gone: nothing that adds up.
import { connect } from 'node:net';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import { holdingOf } from '../soak/process-memory.ts';
import type { BareProxy } from './bare-proxy.ts';

const ROUNDS = 3;
const CONNECTIONS = 300;
const AT_ONCE = 20;
/** Of what a round sends, 60 MB. */
const KEPT_MB_MAX = 40;
const HUGE_HEAD = `GET / HTTP/1.1\r\nhost: x\r\nx-huge: ${'h'.repeat(200_000)}\r\n\r\n`;

const refused = (port: number): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const timer = setTimeout(() => socket.destroy(), 3000);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume();
    socket.write(HUGE_HEAD);
  });

/** On a listener that finds out by itself which HTTP is spoken. */
export const memoryChecks = async (suite: Suite, proxy: BareProxy, named: Named): Promise<void> => {
  await suite.check(named(`${CONNECTIONS} refused heads of 200 kB leave no memory behind`), async () => {
    const port = await proxy.port('to-h1');
    const seen: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < CONNECTIONS; i += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, () => refused(port)));
      await new Promise((resolve) => setTimeout(resolve, 1500)); // connections linger for a second
      seen.push(holdingOf(proxy.child.pid ?? 0)?.privateMb ?? 0);
    }
    const text = `${seen.map((mb) => mb.toFixed(0)).join(', ')} MB private after each round`;
    expect((seen.at(-1) ?? 0) - (seen[0] ?? 0) < KEPT_MB_MAX, text);
    return text;
  });
};
