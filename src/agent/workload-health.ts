// The workload's health as the agent knows it: the probe of its own ProxyConfig, or the one of its WorkloadGroup that the control plane
// sends, and the report that goes to the control plane. A probe that cannot be run is a workload that is not healthy, and says why.
import type { Log } from '../base/log.ts';
import type { AgentConfig } from './agent-config.ts';
import { ownProbe } from './bootstrap.ts';
import { HealthProbe } from './health-probe.ts';
import { HealthReport } from './health-report.ts';
import { attemptProbe } from './probe-attempt.ts';
import { readProbe } from './workload-probe.ts';

export class WorkloadHealth {
  readonly report = new HealthReport();
  readonly #config: AgentConfig;
  readonly #log: Log;
  readonly #probe: HealthProbe;
  /** As text, so that the same probe is not begun anew. */
  #sent: string | undefined;

  constructor(config: AgentConfig, proxyNotReady: () => string, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#probe = new HealthProbe({
      attempt: ({ check, timeoutMs }) => attemptProbe(check, timeoutMs, config.bindSource),
      proxyNotReady,
      report: (healthy, message) => this.#say(healthy, message),
    });
    const own = ownProbe(config.metadata);
    if (own !== undefined) this.#use(own, true);
  }

  /** By the control plane; undefined when it has no probe for this workload. */
  sent(probe: unknown): void {
    const text = probe === undefined ? undefined : JSON.stringify(probe);
    if (text === this.#sent) return;
    this.#sent = text;
    if (probe === undefined) this.#probe.use(undefined);
    else this.#use(probe, this.#config.execProbes === true);
  }

  stop(): void {
    this.#probe.use(undefined);
  }

  #use(value: unknown, mayRunCommands: boolean): void {
    const read = readProbe(value);
    if (read.ok && (mayRunCommands || read.value.check.kind !== 'exec')) {
      this.#log.info('the workload is probed', { check: read.value.check.kind, everyMs: read.value.periodMs });
      this.#probe.use(read.value);
      return;
    }
    this.#probe.use(undefined);
    const why = read.ok ? 'the agent runs commands for the control plane only with --exec-probes' : read.error;
    this.#say(false, `the probe is not run: ${why}`);
  }

  #say(healthy: boolean, message: string): void {
    if (healthy) this.#log.info('the workload is healthy');
    else this.#log.warning('the workload is not healthy', { problem: message });
    this.report.set({ healthy, message });
  }
}
