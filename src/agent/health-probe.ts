// The workload's health over time: probes one after the other, and a report when as many in a row as the thresholds ask for say something
// new, or another reason. A proxy that is no longer ready counts as a workload that is not healthy: nobody could reach it; one that is not
// ready yet is waited for, so that a workload whose agent has been restarted stays what it was. A probe that is replaced starts anew.
import { PROBE_START_MS, PROBE_WAIT_MS_MAX } from './limits.ts';
import type { WorkloadProbe } from './workload-probe.ts';

export interface HealthProbeOptions {
  /** '' when healthy, else why not. Never rejects. */
  readonly attempt: (probe: WorkloadProbe) => Promise<string>;
  /** '' when the proxy is ready. */
  readonly proxyNotReady: () => string;
  readonly report: (healthy: boolean, message: string) => void;
}

export class HealthProbe {
  readonly #options: HealthProbeOptions;
  #probe: WorkloadProbe | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** As reported. */
  #healthy: boolean | undefined;
  #problem = '';
  #passed = 0;
  #failed = 0;

  constructor(options: HealthProbeOptions) {
    this.#options = options;
  }

  /** From now on; undefined ends it. */
  use(probe: WorkloadProbe | undefined): void {
    clearTimeout(this.#timer);
    this.#probe = probe;
    this.#passed = 0;
    this.#failed = 0;
    if (probe) this.#next(probe, probe.initialDelayMs);
  }

  #next(probe: WorkloadProbe, inMs: number): void {
    // Longer than any timer takes is never.
    this.#timer = setTimeout(() => void this.#run(probe), Math.min(inMs, PROBE_WAIT_MS_MAX));
    this.#timer.unref();
  }

  async #run(probe: WorkloadProbe): Promise<void> {
    const startedAtMs = Date.now();
    const notReady = this.#options.proxyNotReady();
    if (notReady !== '' && this.#healthy === undefined) {
      this.#next(probe, Math.min(probe.periodMs, PROBE_START_MS));
      return;
    }
    const problem = notReady || (await this.#options.attempt(probe));
    if (this.#probe !== probe) return;
    this.#count(probe, problem);
    this.#next(probe, Math.max(0, probe.periodMs - (Date.now() - startedAtMs)));
  }

  #count(probe: WorkloadProbe, problem: string): void {
    const passed = problem === '';
    this.#passed = passed ? this.#passed + 1 : 0;
    this.#failed = passed ? 0 : this.#failed + 1;
    if (passed === this.#healthy && problem === this.#problem) return;
    if ((passed ? this.#passed : this.#failed) < (passed ? probe.successThreshold : probe.failureThreshold)) return;
    this.#healthy = passed;
    this.#problem = problem;
    this.#options.report(passed, problem);
  }
}
