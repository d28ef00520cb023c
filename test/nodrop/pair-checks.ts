// Two sidecars with mutual TLS under load, their control plane in our hand: what is changed below, and what the callers notice.
import { setTimeout as after } from 'node:timers/promises';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import type { ProxyKind } from '../interop/bare-proxy.ts';
import { changes, type Extent, emptyThenFull, endpointChurn, lateSecrets, listenerRemoved, quiet, rotations } from './faults.ts';
import { hotRestarts, whyNoHotRestart } from './hot-restart.ts';
import { LoadProcess } from './load-process.ts';
import type { Protocol, Target } from './load-result.ts';
import { type SidecarPair, startPair } from './sidecar-pair.ts';
import { badLines, judgeLoad, lineOf, type Window } from './verdict.ts';

export interface PairRun {
  readonly kind: ProxyKind;
  readonly extent: Extent;
  /** Requests or messages a second of each protocol. */
  readonly rate: number;
  readonly protocols: readonly Protocol[];
}

export const pairChecks = async (suite: Suite, named: Named, options: PairRun): Promise<void> => {
  let pair: SidecarPair | undefined;
  const up = await suite.check(
    named('two sidecars with mutual TLS are ready'),
    async () => {
      pair = await startPair(options.kind);
      return undefined;
    },
    'always',
  );
  if (!up || pair === undefined) return;
  try {
    await underLoad(suite, named, pair, options);
  } finally {
    await pair.stop();
  }
};

const STREAM_MS = 6000;

const targetsOf = ({ ports }: SidecarPair, { rate, protocols }: PairRun): Target[] => [
  ...protocols.map((protocol) => ({
    name: protocol,
    protocol,
    host: '127.0.0.1',
    port: protocol === 'tcp' ? ports.tcp : ports.http,
    rate,
    connections: protocol === 'http2' ? 4 : 16,
    streamMs: STREAM_MS,
  })),
  ...(['websocket', 'tcp'] as const)
    .filter((p) => protocols.includes(p))
    .map((protocol) => ({
      name: `${protocol} (extra)`,
      protocol,
      host: '127.0.0.1',
      port: protocol === 'tcp' ? ports.extraTcp : ports.extraHttp,
      rate: 20,
      connections: 4,
      streamMs: 0,
    })),
];

const underLoad = async (suite: Suite, named: Named, pair: SidecarPair, options: PairRun): Promise<void> => {
  const { extent } = options;
  const windows: Window[] = [];
  const steps: readonly (readonly [string, () => Promise<string>])[] = [
    ['nothing changes', () => quiet(extent)],
    ['cluster, route and listener changes', () => changes(pair, extent)],
    ['certificates that come late', () => lateSecrets(pair, extent)],
    ['endpoints empty, then full', () => emptyThenFull(pair, windows)],
    ['listeners removed while streams live', () => listenerRemoved(pair)],
    ['certificate rotations', () => rotations(pair, extent)],
    ['endpoints that change', () => endpointChurn(pair, extent)],
  ];
  for (const [title, act] of steps) await oneStep(suite, named(title), pair, options, windows, act);
  const title = named('three hot restarts of each sidecar');
  const noRestart = await whyNoHotRestart(pair, options.kind);
  if (noRestart === undefined) await oneStep(suite, title, pair, options, windows, () => hotRestarts(pair));
  else process.stdout.write(`skip  ${title}: not run, ${noRestart}\n`);
  await suite.check(
    named('the control plane was refused nothing'),
    async () => {
      expect(pair.control.refusals.length === 0, pair.control.refusals.slice(0, 10).join('\n'));
      return undefined;
    },
    'always',
  );
};

/** Load before, during and after one kind of change; counts and logs of this step alone. */
const oneStep = (
  suite: Suite,
  title: string,
  pair: SidecarPair,
  options: PairRun,
  windows: readonly Window[],
  act: () => Promise<string>,
): Promise<boolean> =>
  suite.check(`${title}: nothing dropped`, async () => {
    const before = { client: pair.accessLog('client').length, server: pair.accessLog('server').length };
    const load = LoadProcess.local(targetsOf(pair, options));
    try {
      await load.started;
      const since = Date.now();
      await after(500);
      const done = await act();
      await after(500);
      const results = await load.finish();
      await after(700); // the logs are written
      const problems = results.flatMap((r) => judgeLoad(r, windows, since));
      for (const side of ['client', 'server'] as const) problems.push(...badLines(side, pair.accessLog(side).slice(before[side])));
      const table = results.map(lineOf).join('\n');
      expect(problems.length === 0, `${problems.slice(0, 25).join('\n')}\n(${problems.length} problems; ${done})\n${table}`);
      const total = results.reduce((sum, r) => sum + r.sent, 0);
      return `${done}; 0 of ${total} failed\n${table.replace(/^/gm, '        ')}\n     `;
    } finally {
      load.kill();
    }
  });
