// The control plane's own process under the names that every Prometheus client gives it, so that dashboards made for istiod show it. Read
// when the page is asked for. There is no Go in it: of go_* there is nothing to tell.
import { readdirSync, readFileSync } from 'node:fs';
import type { ControlMetrics } from './metric-registry.ts';

/** `uptimeS`: of the process. */
export const processMetrics = (metrics: ControlMetrics, nowMs: number, uptimeS: number = process.uptime()): void => {
  let told = 0;
  const startS = Math.round(nowMs / 1000 - uptimeS);
  metrics.gauge('process_start_time_seconds', () => startS);
  metrics.gauge('process_resident_memory_bytes', () => {
    // Gauges are read before the page is made: a counter that is brought up to date here is right in it.
    const { user, system } = process.cpuUsage();
    const spent = (user + system) / 1e6;
    metrics.count('process_cpu_seconds_total', {}, Math.max(0, spent - told));
    told = Math.max(told, spent);
    return process.memoryUsage.rss();
  });
  metrics.gauge('process_virtual_memory_bytes', () => kilobytes(textOf('/proc/self/status'), 'VmSize') * 1024);
  metrics.gauge('process_open_fds', openFiles);
  metrics.gauge('process_max_fds', () => Number(/^Max open files\s+(\d+)/m.exec(textOf('/proc/self/limits'))?.[1] ?? 0));
};

const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

const kilobytes = (status: string, name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);

/** Without the one by which they are counted. */
const openFiles = (): number => {
  try {
    return Math.max(0, readdirSync('/proc/self/fd').length - 1);
  } catch {
    return 0;
  }
};
