// Faults of upstreams and clients: what the client gets and what the log says is what stock Envoy gives and says. The table's values
// stand for Envoy where there is none; where there is one, it plays the same rows beside us.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compileLogFormat } from '../../src/plan/log-format.ts';
import { silentObserver } from '../../src/proxy/exchange/observer.ts';
import { createAuthority } from './certificates.ts';
import { issueFor, playFault, stage } from './fault-rig.ts';
import { FAULTS, type FaultRow, type Outcome, startUpstream } from './fault-table.ts';
import { eventually, startPlane } from './harness.ts';
import { NO_ENVOY, startEnvoy } from './stock-envoy.ts';

/** Where nothing is to come, and where something is. */
const PATIENCE_MS = { none: 1500, some: 20_000 };
const AT_ONCE = 6;
const line = compileLogFormat({ text: '%UPSTREAM_TRANSPORT_FAILURE_REASON%' }, true);

const upstreams = async (stack: AsyncDisposableStack) => {
  const known = createAuthority('known');
  const other = createAuthority('other');
  const ports: number[] = [];
  for (const row of FAULTS) ports.push(stack.use(await startUpstream(row, issueFor(row.listen === 'tls-other' ? other : known))).port);
  return stage(FAULTS, ports, known.pem);
};

/** Plays all rows, some at a time; `logged` finds a row's record by its path. */
const differences = async (
  port: number,
  logged: (path: string) => Outcome['logged'] | undefined,
  expected: (row: FaultRow) => Outcome,
): Promise<readonly string[]> => {
  const wrong: string[] = [];
  const one = async (i: number): Promise<void> => {
    const row = FAULTS[i];
    if (row === undefined) return;
    const seen = await playFault(row, i, port, expected(row).view === 'whole' ? PATIENCE_MS.some : PATIENCE_MS.none);
    await eventually(() => logged(`/${i}/x`) !== undefined, `${row.what} is logged`).catch(() => {});
    const outcome = { ...seen, logged: logged(`/${i}/x`) };
    const want = expected(row);
    if (JSON.stringify(outcome) !== JSON.stringify(want))
      wrong.push(`${row.what}: ${JSON.stringify(outcome)}, wanted ${JSON.stringify(want)}`);
  };
  for (let i = 0; i < FAULTS.length; i += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => one(i + n)));
  return wrong;
};

describe('the fault table', () => {
  test('what the client gets and the log says when something breaks', { timeout: 120_000 }, async () => {
    await using stack = new AsyncDisposableStack();
    const resources = await upstreams(stack);
    const records = new Map<string, Outcome['logged']>();
    const plane = stack.use(
      await startPlane(resources, {
        observer: {
          ...silentObserver,
          httpDone: (info) =>
            records.set(info.path, {
              status: info.responseCode,
              flags: info.flagsShort(),
              details: info.responseCodeDetails,
              transport: line(info).trim(),
            }),
        },
      }),
    );
    assert.deepEqual(
      await differences(
        plane.port('l'),
        (path) => records.get(path),
        (row) => row.expected,
      ),
      [],
    );
    assert.deepEqual(plane.problems, []);
  });

  test('is what stock Envoy does', { timeout: 120_000, skip: NO_ENVOY }, async () => {
    await using stack = new AsyncDisposableStack();
    const envoy = stack.use(await startEnvoy(await upstreams(stack)));
    const record = (path: string): Outcome['logged'] | undefined => {
      const found = envoy.log().find((entry) => entry.path === path);
      return found && { status: found.status, flags: found.flags, details: found.details, transport: found.transport };
    };
    assert.deepEqual(await differences(envoy.port('l'), record, (row) => row.envoy ?? row.expected), []);
  });
});
