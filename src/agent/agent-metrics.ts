// What the agent tells of itself, under the names of Istio's agent: how long its certificates last, and what its process uses.
import { ROOT_SECRET, WORKLOAD_SECRET } from './sds.ts';

/** In Prometheus' text format. */
export const agentMetrics = (ends: { readonly leafMs: number; readonly rootMs: number } | undefined, nowMs: number): string => {
  const { user, system } = process.cpuUsage();
  const parts = [
    family('istio_agent_process_cpu_seconds_total', 'counter', 'Total user and system CPU time spent in seconds.', [
      ['', (user + system) / 1e6],
    ]),
    family('istio_agent_process_resident_memory_bytes', 'gauge', 'Resident memory size in bytes.', [['', process.memoryUsage().rss]]),
    family('istio_agent_process_start_time_seconds', 'gauge', 'Start time of the process since unix epoch in seconds.', [
      ['', Math.round(nowMs / 1000 - process.uptime())],
    ]),
  ];
  if (ends !== undefined) {
    const left = (name: string, endMs: number): [string, number] => [`{resource_name="${name}"}`, (endMs - nowMs) / 1000];
    const help =
      'The time remaining, in seconds, before the certificate chain will expire. A negative value indicates the cert is expired.';
    parts.push(
      family('istio_agent_cert_expiry_seconds', 'gauge', help, [left(WORKLOAD_SECRET, ends.leafMs), left(ROOT_SECRET, ends.rootMs)]),
    );
  }
  return parts.join('');
};

const family = (name: string, type: string, help: string, samples: readonly (readonly [labels: string, value: number])[]): string =>
  `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.map(([labels, value]) => `${name}${labels} ${value}\n`).join('')}`;
