// Protocols that a proxy must carry without knowing them: real Redis, and a server that speaks first.
import { join } from 'node:path';
import { type Mesh, type Ran, ROOT } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import type { ProxyKind } from './bare-proxy.ts';
import { tool } from './tools.ts';

/** A wait of any fixed length shows here; so does a second trip. */
const GREETED_MS = 5;
const GREETED_TRIES = 4;

const program = (name: string): string => join(ROOT, 'test/interop/peers', name);

const out = ({ code, out: text, err }: Ran): string => {
  expect(code === 0, `exit ${code}: ${text.slice(-500)}${err.slice(-800)}`);
  return text.trim();
};

export const whyNoRedis = (): string | undefined => (tool('redis-server') === undefined ? 'there is no redis-server' : undefined);

export const redisChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const name of ['commands', 'pipeline', 'pubsub', 'large'])
    await suite.check(named(`Redis: ${name}`), async () =>
      out(await mesh.exec('client', 'node', program('redis-client.ts'), name, 'redis', '6379')),
    );
  if (tool('redis-cli') === undefined) suite.skip(named('Redis: redis-cli'), 'redis', 'there is no redis-cli');
  else
    await suite.check(named('Redis: redis-cli'), async () => {
      const cli = (...args: string[]): Promise<Ran> => mesh.exec('client', 'redis-cli', '-h', 'redis', ...args);
      expect(out(await cli('SET', 'k', 'v')) === 'OK', 'SET');
      expect(out(await cli('GET', 'k')) === 'v', 'GET');
      return out(await cli('INFO', 'server'))
        .split('\n')[1]
        ?.trim();
    });
};

export const greetingChecks = async (suite: Suite, mesh: Mesh, named: Named, proxy: ProxyKind): Promise<void> => {
  const ports: readonly (readonly [string, string])[] = [
    ['a declared TCP port', '3306'],
    ['a port without declared protocol', '3307'],
  ];
  for (const [what, port] of ports) {
    const title = named(`server-first greeting on ${what}: half of the connections within ${GREETED_MS} ms, all bytes come back`);
    if (proxy === 'envoy' && port === '3307') {
      process.stdout.write(`skip  ${title}: not run, Envoy waits there for the client’s first bytes\n`);
      continue;
    }
    await suite.check(title, async () => {
      const seen: string[] = [];
      // A wait of the proxy's is there every time; one of the machine's is not.
      for (let tries = 0; tries < GREETED_TRIES; tries++) {
        const text = out(await mesh.exec('client', 'node', program('greeting-client.ts'), 'greeter', port));
        const { cold, median, p90, max } = JSON.parse(text) as Record<'cold' | 'median' | 'p90' | 'max', number>;
        const times = [median, p90, max, cold].map((ms) => ms.toFixed(1));
        seen.push(`median ${times[0]} ms, p90 ${times[1]} ms, longest ${times[2]} ms; the first forty ${times[3]} ms`);
        if (median < GREETED_MS) return seen.join(', then ');
      }
      throw new Error(seen.join('\n'));
    });
  }
};
