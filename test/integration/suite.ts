// A list of checks run in order against one running mesh: prints each, counts, and never stops at the first failure.

export class Suite {
  passed = 0;
  failed = 0;
  readonly skipped: string[] = [];
  readonly #only: RegExp | undefined;

  constructor(only: string | undefined) {
    this.#only = only === undefined ? undefined : new RegExp(only);
  }

  /** `when` "always": what the others stand on, not left out by `--only`. */
  async check(name: string, body: () => Promise<string | undefined>, when?: 'always'): Promise<boolean> {
    if (this.#only && when === undefined && !this.#only.test(name)) return true;
    const started = performance.now();
    try {
      const detail = await body();
      this.passed++;
      process.stdout.write(`ok    ${name}${detail ? `: ${detail}` : ''} (${seconds(started)})\n`);
      return true;
    } catch (error) {
      this.failed++;
      const text = error instanceof Error ? error.message : String(error);
      process.stdout.write(`FAIL  ${name} (${seconds(started)})\n${text.replace(/^/gm, '        ')}\n`);
      return false;
    }
  }

  /** A part that this machine cannot run. A failure when SKEIN_REQUIRE names what is missing. */
  skip(name: string, needs: string, why: string): void {
    if ((process.env['SKEIN_REQUIRE'] ?? '').split(',').includes(needs)) {
      this.failed++;
      process.stdout.write(`FAIL  ${name}: ${needs} is required here and ${why}\n`);
      return;
    }
    this.skipped.push(name);
    process.stdout.write(`skip  ${name}: not run, ${why}\n`);
  }

  finish(): never {
    process.stdout.write(`${this.passed} passed, ${this.failed} failed, ${this.skipped.length} skipped\n`);
    process.exit(this.failed > 0 ? 1 : 0);
  }
}

/** Puts the kind of sidecar before a check's name. */
export type Named = (name: string) => string;

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

export const expect = (condition: boolean, message: string): void => {
  if (!condition) throw new Error(message);
};

/** Polls until `probe` gives a value; throws with the last thing seen. */
export const eventually = async <T>(what: string, withinMs: number, probe: () => Promise<T | undefined>): Promise<T> => {
  const until = performance.now() + withinMs;
  let last = 'nothing';
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > until) throw new Error(`${what}: not within ${withinMs} ms (last: ${last})`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
};
