// The rounds of all scenarios: contenders take turns, dirty rounds are marked and repeated within bounds, a contender that fails is left
// out of that scenario with the reason.
import { installed, type LineUp, missingText } from './line-up.ts';
import type { LoadContext } from './load/generators.ts';
import { measure, measureIdle } from './measure.ts';
import type { Options } from './options.ts';
import type { Contender } from './peers/contender.ts';
import { CONTENDERS, SCENARIOS, type Scenario, takesPart } from './scenarios.ts';
import { isClean, type Medians, type Round, summarize, wantsAnother } from './statistics.ts';
import type { Results } from './targets.ts';

const IDLE_STEPS = 5;
const WARM_UP_TURNS_MAX = 5;
/** Where many of ours are compared with each other: the same for all, so that none stops early. */
const OWN_WARM_UP_TURNS = 3;
/** A turn that costs more than this share of the one before: it is warm. */
const WARM_UP_FALL = 0.95;
/** 99 % of few samples is no figure: the open loop lasts at least so long. */
const OPEN_LOOP_SECONDS = 3;

export class Session {
  readonly notRun = new Map<string, Map<string, string>>();
  readonly #rounds = new Map<string, Map<string, Round[]>>();
  readonly #options: Options;
  readonly #lineUp: LineUp;
  readonly #signal: AbortSignal;
  readonly #print: (line: string) => void;
  #readyMb: number | undefined;
  #afterTwoHopsMb: number | undefined;

  constructor(options: Options, lineUp: LineUp, signal: AbortSignal, print: (line: string) => void) {
    this.#options = options;
    this.#lineUp = lineUp;
    this.#signal = signal;
    this.#print = print;
  }

  /** Taken when it was due, while others were starting. */
  async noteReadyMemory(): Promise<void> {
    this.#readyMb = await this.#lineUp.mesh('skein')?.readyMb;
    if (this.#readyMb !== undefined) this.#print(`skein: ${this.#readyMb.toFixed(0)} MB resident a sidecar 5 s after ready`);
  }

  leaveOut(scenario: Scenario, reason: string, contender = ''): void {
    const why = reason.trim().replace(/\s*\n\s*/g, ' / ');
    const reasons = this.notRun.get(scenario.id) ?? new Map<string, string>();
    reasons.set(contender, why);
    this.notRun.set(scenario.id, reasons);
    this.#print(`(${scenario.id}) ${contender === '' ? '' : `${contender}: `}not run: ${why}`);
  }

  async run(scenario: Scenario): Promise<void> {
    this.#print(`\n(${scenario.id}) ${scenario.title}`);
    const rows = new Map<string, Round[]>();
    this.#rounds.set(scenario.id, rows);
    for (const contender of this.#taking(scenario)) {
      const why = await contender.refuses?.(scenario.path, this.#signal);
      if (why === undefined) rows.set(contender.name, []);
      else this.leaveOut(scenario, why, contender.name);
    }
    if (scenario.load === 'idle') await this.#idle(scenario, rows);
    else await this.#takeTurns(scenario, rows);
    const mesh = this.#lineUp.mesh('skein');
    if (scenario.id === 'b' && mesh !== undefined && (rows.get('skein') ?? []).length > 0) this.#afterTwoHopsMb = mesh.residentMb();
  }

  medians(): Record<string, Record<string, Medians>> {
    const out: Record<string, Record<string, Medians>> = {};
    for (const scenario of SCENARIOS) {
      const rows = this.#rounds.get(scenario.id);
      if (rows === undefined) continue;
      out[scenario.id] = Object.fromEntries(
        [...rows].filter(([, r]) => r.length > 0).map(([name, r]) => [name, summarize(r, scenario.cpuUnits, this.#options.dirty)]),
      );
    }
    return out;
  }

  results(): Results {
    const scenarios = new Map(Object.entries(this.medians()).map(([id, rows]) => [id, new Map(Object.entries(rows))]));
    return { scenarios, readyMb: this.#readyMb, afterTwoHopsMb: this.#afterTwoHopsMb };
  }

  /** Requests that failed in all its rounds, those that do not count included. */
  errorsOf(scenario: Scenario): number {
    let sum = 0;
    for (const rounds of this.#rounds.get(scenario.id)?.values() ?? []) for (const round of rounds) sum += round.errors;
    return sum;
  }

  record(): Record<string, Record<string, readonly Round[]>> {
    return Object.fromEntries([...this.#rounds].map(([id, rows]) => [id, Object.fromEntries(rows)]));
  }

  #failed(scenario: Scenario, contender: Contender, error: NodeJS.ErrnoException): void {
    const ended = error.code === 'ENOENT' && error.message.includes('/proc/');
    this.leaveOut(scenario, `failed: ${ended ? 'one of its processes ended during the round' : error.message}`, contender.name);
    const words = contender.lastWords?.() ?? '';
    if (words !== '') this.#print(`  its logs end with\n${words.replace(/^/gm, '    ')}`);
  }

  #taking(scenario: Scenario): Contender[] {
    const out: Contender[] = [];
    for (const name of CONTENDERS) {
      if (!takesPart(scenario, name, this.#options.only)) continue;
      const contender = this.#lineUp.contenders.find((c) => c.name === name);
      const route = contender?.route(scenario.path);
      if (contender === undefined) this.leaveOut(scenario, this.#lineUp.absent.get(name) ?? 'it did not start', name);
      else if (typeof route === 'string') this.leaveOut(scenario, route, name);
      else if (scenario.path === 'one-hop-grpc' && !installed('nghttpd')) this.leaveOut(scenario, missingText('nghttpd'), name);
      else out.push(contender);
    }
    return out;
  }

  #context(scenario: Scenario): LoadContext {
    const { seconds, quick } = this.#options;
    const length = scenario.load === 'open-loop' && !quick ? Math.max(seconds, OPEN_LOOP_SECONDS) : seconds;
    return { seconds: length, scratch: this.#lineUp.scratch, signal: this.#signal };
  }

  async #takeTurns(scenario: Scenario, rows: Map<string, Round[]>): Promise<void> {
    const contenders = this.#lineUp.contenders.filter((c) => rows.has(c.name));
    const { rounds: wanted, quick, dirty } = this.#options;
    const failed = new Set<string>();
    const turn = async (contender: Contender): Promise<Round | undefined> => {
      try {
        const round = await measure(contender, scenario, this.#context(scenario), () => this.#lineUp.roots());
        contender.tidy?.();
        return round;
      } catch (error) {
        this.#signal.throwIfAborted();
        failed.add(contender.name);
        this.#failed(scenario, contender, error as NodeJS.ErrnoException);
        return undefined;
      }
    };
    if (!quick) for (const contender of contenders) await warmUp(turn, contender, scenario);
    const waiting = (c: Contender): boolean => {
      const have = rows.get(c.name) ?? [];
      return !failed.has(c.name) && (dirty ? have.length < wanted : wantsAnother(have, wanted));
    };
    for (let left = contenders.filter(waiting); left.length > 0; left = contenders.filter(waiting)) {
      for (const contender of left) {
        const round = await turn(contender);
        if (round === undefined) continue;
        rows.get(contender.name)?.push(round);
        this.#print(roundText(scenario, contender.name, round));
      }
    }
  }

  async #idle(scenario: Scenario, rows: Map<string, Round[]>): Promise<void> {
    for (const contender of this.#lineUp.contenders.filter((c) => rows.has(c.name))) {
      try {
        const roots = () => this.#lineUp.roots();
        const steps = await measureIdle(contender, scenario, IDLE_STEPS, this.#options.idle, this.#context(scenario), roots);
        rows.set(contender.name, steps);
        const text = steps.map((s) => s.kibPerConnection?.toFixed(1)).join(' ');
        this.#print(`  ${contender.name.padEnd(11)} KiB per connection in steps of ${this.#options.idle}: ${text}`);
      } catch (error) {
        this.#signal.throwIfAborted();
        this.#failed(scenario, contender, error as NodeJS.ErrnoException);
      }
    }
  }
}

/** One turn; ours, whose code is compiled while it runs, until a turn costs about what the one before did. */
const warmUp = async (
  turn: (contender: Contender) => Promise<Round | undefined>,
  contender: Contender,
  scenario: Scenario,
): Promise<void> => {
  const own = scenario.own === true;
  let before = Number.POSITIVE_INFINITY;
  for (let turns = own ? OWN_WARM_UP_TURNS : contender.name.startsWith('skein') ? WARM_UP_TURNS_MAX : 1; turns > 0; turns--) {
    const round = await turn(contender);
    if (round === undefined) return;
    const cost = round.cpuSeconds / round.units;
    if (cost > before * WARM_UP_FALL && !own) return;
    before = cost;
  }
};

const roundText = (scenario: Scenario, name: string, r: Round): string => {
  const cpu = r.cpuSeconds > 0 ? `${((r.cpuSeconds / r.units) * scenario.cpuUnits).toFixed(2)} ${scenario.cpuLabel}` : '';
  const latency = r.p50Ms === undefined ? '' : `  p50 ${r.p50Ms.toFixed(2)} p99 ${(r.p99Ms ?? 0).toFixed(2)} ms`;
  const errors = r.errors > 0 ? `  ${r.errors} errors` : '';
  const dirty = isClean(r)
    ? ''
    : `  not clean: ${(r.foreign * 100).toFixed(0)} % foreign, ${(r.stolen * 100).toFixed(0)} % stolen${r.lateMs === undefined ? '' : `, generator late by ${r.lateMs.toFixed(1)} ms`}`;
  return `  ${name.padEnd(11)} ${r.perSecond.toFixed(0).padStart(7)} ${scenario.rateLabel}  ${cpu}${latency}${errors}${dirty}`;
};
