// The table: a row is printed when its check has ended, and the counts at the end. A check that hangs is a failure of its own.
import type { Need, SecurityCheck } from './check.ts';

const CHECK_MS_MAX = 180_000;

export class Rows {
  #passed = 0;
  #failed = 0;
  readonly #notRun: string[] = [];

  constructor() {
    this.#print('', 'line', 'sidecar', 'check');
  }

  async run(check: SecurityCheck): Promise<void> {
    const started = performance.now();
    const took = (): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;
    try {
      const detail = await inTime(check);
      this.#passed++;
      this.#print('ok', String(check.line), check.proxy ?? '', `${check.name}${detail ? `: ${detail}` : ''} (${took()})`);
    } catch (error) {
      this.#failed++;
      this.#print('FAIL', String(check.line), check.proxy ?? '', `${check.name} (${took()})`);
      const text = error instanceof Error ? error.message : String(error);
      process.stdout.write(`${text.slice(-4000).replace(/^/gm, '        ')}\n`);
    }
  }

  /** A failure when SKEIN_REQUIRE names what is missing. */
  notRun(check: SecurityCheck, lacks: Need, why: string): void {
    if ((process.env['SKEIN_REQUIRE'] ?? '').split(',').includes(lacks)) {
      this.#failed++;
      this.#print('FAIL', String(check.line), check.proxy ?? '', `${check.name}: required here, and ${why}`);
      return;
    }
    this.#notRun.push(check.name);
    this.#print('-', String(check.line), check.proxy ?? '', `${check.name}: not run, ${why}`);
  }

  /** The exit code: 1 when a check failed, or when none ran. */
  finish(): number {
    const rest = this.#notRun.length === 0 ? '' : `, ${this.#notRun.length} not run`;
    process.stdout.write(`${this.#passed} passed, ${this.#failed} failed${rest}\n`);
    return this.#failed > 0 || this.#passed === 0 ? 1 : 0;
  }

  #print(verdict: string, line: string, proxy: string, text: string): void {
    process.stdout.write(`${verdict.padEnd(5)}${line.padEnd(6)}${proxy.padEnd(9)}${text}\n`);
  }
}

const inTime = async (check: SecurityCheck): Promise<string | undefined> => {
  const mostMs = CHECK_MS_MAX + (check.seconds ?? 0) * 1000;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${mostMs / 1000} s`)), mostMs);
  });
  try {
    return await Promise.race([check.run(), late]);
  } finally {
    clearTimeout(timer);
  }
};
