// Tokens that nobody may be let in with, and issuers that fail.
import type { Checks } from './check.ts';

const ISSUERS = 'issuer down, slow, huge, redirecting, no JSON, with a certificate of its own authority; keys that change: nothing hangs';

export const checks: Checks = (context) => [
  {
    line: 1,
    name: `keys fetched by the control plane: ${ISSUERS}`,
    needs: [],
    run: () => context.testFile('test/control/auth/issuer-faults.test.ts'),
  },
  {
    line: 1,
    name: 'keys fetched by the proxy itself: issuer down, slow, huge, redirecting, no JSON; keys that change',
    needs: [],
    run: () => context.testFile('test/proxy/jwt-remote.test.ts'),
  },
  {
    line: 5,
    name: 'every attack of the table is refused by our filter and tells nobody its claims',
    needs: [],
    run: () => context.testFile('test/proxy/jwt-attacks.test.ts', { only: 'no attack|header line|never told' }),
  },
  {
    line: 5,
    name: 'what a stock Envoy refuses is refused in the same way',
    needs: ['envoy'],
    run: () => context.testFile('test/proxy/jwt-attacks.test.ts', { only: 'stock Envoy' }),
  },
];
