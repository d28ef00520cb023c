// What the other checks rest on: the calls really went through both sidecars with mutual TLS.
import type { Mesh } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';

const IDENTITY = 'spiffe://cluster.local/ns/interop/sa/peers';

export const mutualTlsCheck = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const [what, flag, port] of [['HTTP/1.1', '--http1.1', '8080'] as const, ['HTTP/2', '--http2-prior-knowledge', '8081'] as const])
    await suite.check(named(`the server sees the caller’s identity over ${what}`), async () => {
      const { out } = await mesh.exec('client', 'curl', '-sS', '--max-time', '10', flag, `http://web:${port}/headers`);
      expect(out.includes(`URI=${IDENTITY}`), `no identity in ${out.slice(0, 1000)}`);
      return undefined;
    });
};
