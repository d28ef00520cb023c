// Starts the pairs of sidecars of the telemetry scenario and their collectors, tells what they have counted when the rounds are over, brings
// the collectors back that were bad, and ends all of it.
import { truncateSync, writeFileSync } from 'node:fs';
import { type ClientRequest, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runLoad } from '../load/generators.ts';
import type { BackendPorts } from '../peers/backends.ts';
import type { Contender } from '../peers/contender.ts';
import { inboundConfig, outboundConfig } from '../peers/envoy-config.ts';
import { type Relay, type RelayPorts, startRelay } from '../peers/host-relays.ts';
import { freePorts, Processes, untilListening } from '../peers/processes.ts';
import type { Scenario } from '../scenarios.ts';
import { type CollectorMode, TELEMETRY_ROWS, type TelemetryRow, TRACED_PERCENT } from './rows.ts';
import { type Recovery, type Tally, tallyTogether } from './tallies.ts';

const COLLECTOR = fileURLToPath(new URL('collector.ts', import.meta.url));
const NEVER = 'left out: telemetry is measured over two hops of HTTP/1.1';
/** A round trip that the collector does not answer lasts 5 s, the longest wait before the next try 10 s. */
const RECOVERY_MS = 40_000;
const LOOK_MS = 200;
const TAP_SECONDS = 3_600;
const SHORT_LOAD_SECONDS = 1;

export interface PairsContext {
  readonly skein: string;
  readonly certificates: string;
  readonly backend: BackendPorts;
  /** Makes a folder of this name. */
  readonly folder: (name: string) => string;
}

interface Pair {
  readonly row: TelemetryRow;
  readonly contender: Contender;
  readonly adminPorts: readonly number[];
  readonly collectorPort: number;
  readonly collectorLog: string;
}

export class TelemetryPairs {
  readonly #context: PairsContext;
  readonly #sidecars = new Processes();
  readonly #collectors = new Map<string, Processes>();
  readonly #pairs: Pair[] = [];
  readonly #taps: ClientRequest[] = [];

  constructor(context: PairsContext) {
    this.#context = context;
  }

  get contenders(): readonly Contender[] {
    return this.#pairs.map((p) => p.contender);
  }

  async start(wanted: (name: string) => boolean, signal: AbortSignal): Promise<void> {
    for (const row of TELEMETRY_ROWS) {
      if (!wanted(row.name)) continue;
      signal.throwIfAborted();
      await this.#startPair(row);
    }
  }

  async tallies(): Promise<ReadonlyMap<string, Tally>> {
    const out = new Map<string, Tally>();
    for (const pair of this.#pairs) if (pair.row.tells !== undefined) out.set(pair.row.name, await tallyOf(pair));
    return out;
  }

  /** Where there was none that took spans, there is one now; resolves when both hops have sent, or when that takes too long. */
  async recover(scenario: Scenario, scratch: string, signal: AbortSignal): Promise<ReadonlyMap<string, Recovery>> {
    const out = new Map<string, Recovery>();
    for (const pair of this.#pairs) {
      const mode = pair.row.tells?.collector;
      if (mode === undefined || mode === 'takes') continue;
      out.set(pair.row.name, await this.#recoverOne(pair, scenario, scratch, signal));
    }
    return out;
  }

  async stop(): Promise<void> {
    for (const tap of this.#taps) tap.destroy();
    await this.#sidecars.stop();
    for (const collectors of this.#collectors.values()) await collectors.stop();
  }

  async #startPair(row: TelemetryRow): Promise<void> {
    const { skein, certificates, backend, folder } = this.#context;
    const dir = folder(row.name);
    const [collectorPort = 0, ...adminPorts] = await freePorts(3);
    const collectorLog = join(dir, 'collector.log');
    if (row.tells !== undefined && row.tells.collector !== 'down')
      await this.#startCollector(row.name, row.tells.collector, collectorPort, collectorLog);
    const logs = row.tells?.log === 'file' ? ['out', 'into'].map((hop) => join(dir, `${hop}-access.log`)) : [];
    const configure = (ports: RelayPorts, hop: 'out' | 'into'): string[] => {
      const file = join(dir, `${hop}.json`);
      const options = {
        ...{ full: true, http2: false, certificates, adminPort: adminPorts[hop === 'out' ? 0 : 1] ?? 0 },
        accessLog: row.tells === undefined ? '' : (logs[hop === 'out' ? 0 : 1] ?? '/dev/full'),
        ...(row.tells === undefined ? {} : { metrics: true, tracing: { collectorPort, percent: TRACED_PERCENT } }),
      };
      writeFileSync(file, (hop === 'out' ? outboundConfig : inboundConfig)(options, ports, backend));
      return [skein, 'proxy', '-c', file];
    };
    const relay: Relay = {
      name: row.name,
      note: row.note,
      cannot: { 'one-hop': NEVER, 'two-hops-h2': NEVER, 'one-hop-grpc': NEVER, 'two-hops-tcp': NEVER },
      configure: (_, ports) => ({ out: configure(ports, 'out'), into: configure(ports, 'into') }),
    };
    const started = await startRelay(relay, { processes: this.#sidecars, dir, certificates, backend });
    const tidy = (): void => {
      for (const log of logs) truncateSync(log);
    };
    this.#pairs.push({ row, adminPorts, collectorPort, collectorLog, contender: { ...started, tidy } });
    for (const port of row.tap === undefined ? [] : adminPorts) this.#taps.push(await openTap(port));
    if (row.tap === 'ended') for (const tap of this.#taps.splice(-adminPorts.length)) tap.destroy();
  }

  async #startCollector(name: string, mode: CollectorMode, port: number, log: string): Promise<void> {
    const processes = new Processes();
    this.#collectors.set(name, processes);
    processes.start([process.execPath, COLLECTOR, String(port), mode], log);
    await untilListening(`the collector of ${name}`, [port], log);
  }

  async #recoverOne(pair: Pair, scenario: Scenario, scratch: string, signal: AbortSignal): Promise<Recovery> {
    const { row, collectorPort, contender } = pair;
    const route = contender.route(scenario.path);
    if (typeof route === 'string') throw new Error(route);
    const sentBefore = await sentOf(pair);
    await this.#collectors.get(row.name)?.stop();
    await this.#startCollector(row.name, 'takes', collectorPort, pair.collectorLog);
    const start = performance.now();
    let sent = sentBefore;
    // Of few requests it may be that none is traced: there is load until one is.
    do {
      await runLoad(scenario, route, { seconds: SHORT_LOAD_SECONDS, scratch, signal });
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      sent = await sentOf(pair);
    } while (sent.some((n, hop) => n <= (sentBefore[hop] ?? 0)) && performance.now() - start < RECOVERY_MS);
    const seconds = (performance.now() - start) / 1000;
    const received = Number(await get(collectorPort, '/spans'));
    return { before: sum(sentBefore), after: sum(sent), received, seconds };
  }
}

const sum = (list: readonly number[]): number => list.reduce((all, n) => all + n, 0);

const get = async (port: number, path: string): Promise<string> => (await fetch(`http://127.0.0.1:${port}${path}`)).text();

const pagesOf = (pair: Pair): Promise<string[]> => Promise.all(pair.adminPorts.map((port) => get(port, '/stats')));

const tallyOf = async (pair: Pair): Promise<Tally> => tallyTogether(await pagesOf(pair));

const sentOf = async (pair: Pair): Promise<number[]> => (await pagesOf(pair)).map((page) => tallyTogether([page]).sent);

/** Resolves when it is open: the proxy has said so. */
const openTap = (port: number): Promise<ClientRequest> =>
  new Promise((resolve, reject) => {
    const body = JSON.stringify({ match: { path: '/nobody-asks-for-this' }, seconds: TAP_SECONDS });
    const tap = request({ host: '127.0.0.1', port, path: '/tap', method: 'POST' }, (response) => {
      response.on('error', () => undefined);
      response.once('data', () =>
        response.statusCode === 200 ? resolve(tap) : reject(new Error(`the tap is refused: ${response.statusCode}`)),
      );
      response.resume();
    });
    tap.on('error', reject);
    tap.end(body);
  });
